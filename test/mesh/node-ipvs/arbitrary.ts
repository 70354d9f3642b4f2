/** Every service, destination and sync daemon that a caller may wish for, for properties. */
import fc from 'fast-check'
import type {
  Destination,
  Forwarding,
  Persistence,
  Service,
  ServiceId,
  SyncDaemon,
} from 'node-ipvs'

const port = fc.integer({ min: 1, max: 0xffff })
const u32 = fc.integer({ min: 0, max: 0xffff_ffff })
const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,14}$/)
const flagsOf = <T extends string>(...flags: readonly T[]): fc.Arbitrary<readonly T[]> =>
  fc.subarray([...flags])

export const address = fc.oneof(fc.ipV4(), fc.ipV6())

export const serviceId: fc.Arbitrary<ServiceId> = fc.oneof(
  fc.record({
    kind: fc.constant('address' as const),
    protocol: fc.constantFrom('tcp', 'udp', 'sctp'),
    address,
    port,
  }),
  fc.record({
    kind: fc.constant('fwmark' as const),
    family: fc.constantFrom(4, 6),
    mark: fc.integer({ min: 1, max: 0xffff_ffff }),
  }),
)

const isV6 = (id: ServiceId): boolean =>
  id.kind === 'fwmark' ? id.family === 6 : id.address.includes(':')

function persistenceOf(id: ServiceId): fc.Arbitrary<Persistence> {
  const timeoutSeconds = fc.integer({ min: 1, max: 4_294_967 })
  const prefixLength = fc.integer(isV6(id) ? { min: 1, max: 128 } : { min: 0, max: 32 })
  const byPrefix = fc.record({ timeoutSeconds, prefixLength })
  const plain = fc.record({ timeoutSeconds })
  if (isV6(id)) return fc.oneof(byPrefix, plain)
  return fc.oneof(byPrefix, plain, fc.record({ timeoutSeconds, netmask: fc.ipV4() }))
}

export const service: fc.Arbitrary<Service> = serviceId.chain(id => {
  const isDatagram = id.kind === 'fwmark' || id.protocol === 'udp'
  const flags = isDatagram
    ? flagsOf('one-packet', 'fallback', 'source-port', 'scheduler-3')
    : flagsOf('scheduler-3', 'source-port', 'fallback')
  return fc
    .record(
      { scheduler: name, flags, persistence: persistenceOf(id), persistenceEngine: name },
      { requiredKeys: ['scheduler'] },
    )
    .map(settings => ({ ...id, ...settings }))
})

const tunnelFlags = flagsOf('checksum', 'remote-checksum')

export const forwarding: fc.Arbitrary<Forwarding> = fc.oneof(
  fc.constantFrom<Forwarding>(
    { kind: 'masquerade' },
    { kind: 'local' },
    { kind: 'direct-route' },
    { kind: 'bypass' },
    { kind: 'tunnel', encapsulation: 'ipip' },
  ),
  fc.record(
    {
      kind: fc.constant('tunnel' as const),
      encapsulation: fc.constant('gre' as const),
      flags: tunnelFlags,
    },
    { requiredKeys: ['kind', 'encapsulation'] },
  ),
  fc.record(
    {
      kind: fc.constant('tunnel' as const),
      encapsulation: fc.constant('gue' as const),
      port,
      flags: tunnelFlags,
    },
    { requiredKeys: ['kind', 'encapsulation', 'port'] },
  ),
)

/** Of the service's family, so that each forwarding method goes. */
export function destinationOf(id: ServiceId): fc.Arbitrary<Destination> {
  return fc
    .record({
      address: isV6(id) ? fc.ipV6() : fc.ipV4(),
      port: fc.integer({ min: 0, max: 0xffff }),
      weight: fc.integer({ min: 0, max: 0x7fff_ffff }),
      forwarding,
      thresholds: fc.tuple(u32, u32),
    })
    .map(({ thresholds, ...rest }) => ({
      ...rest,
      upperThreshold: Math.max(...thresholds),
      lowerThreshold: Math.min(...thresholds),
    }))
}

export const daemon: fc.Arbitrary<SyncDaemon> = fc.record(
  {
    state: fc.constantFrom('master', 'backup'),
    interface: name,
    syncId: fc.integer({ min: 0, max: 255 }),
    maxLength: fc.integer({ min: 1, max: 0xffff }),
    group: fc.constantFrom('224.0.0.81', '239.1.2.3', 'ff02::51'),
    port,
    ttl: fc.integer({ min: 1, max: 255 }),
  },
  { requiredKeys: ['state', 'interface', 'syncId'] },
)
