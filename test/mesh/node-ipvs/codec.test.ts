/** The bytes that node-ipvs writes and reads, without a kernel. */
import fc from 'fast-check'
import { SocketAddress } from 'node:net'
import {
  canonicalDestination,
  canonicalService,
  IpvsError,
  type Destination,
  type Forwarding,
  type Service,
  type ServiceId,
  type SyncDaemon,
} from 'node-ipvs'
import {
  attribute,
  canonicalDaemon,
  COMMAND,
  composeAddress,
  composeDaemon,
  composeDestination,
  composeRequest,
  composeService,
  composeTimeouts,
  nested,
  NLM_F,
  parseAddress,
  parseAttributes,
  parseDaemon,
  parseDestination,
  parseFamilyId,
  parseGeneric,
  parseInfo,
  parseService,
  parseTimeouts,
  parseVerdict,
  SERVICE,
  splitMessages,
  u32,
} from 'node-ipvs/wire'
import t from 'tap'
import * as arbitrary from './arbitrary.js'

const web: Service = {
  kind: 'address',
  protocol: 'tcp',
  address: '10.0.0.1',
  port: 80,
  scheduler: 'rr',
}
const backend: Destination = {
  address: '10.0.1.1',
  port: 8080,
  weight: 1,
  forwarding: { kind: 'masquerade' },
}

const STATS = 10
const STATS64 = 12

function u64(type: number, value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return attribute(type, bytes)
}

/** The counters as the kernel appends them; 11 is the padding that it may put before 64 bits. */
const wideStats = Array.from({ length: 10 }, (_, i) => u64(i + 1, (1n << 40n) + BigInt(i)))
const narrowStats = Array.from({ length: 10 }, (_, i) =>
  i === 3 || i === 4 ? u64(i + 1, BigInt(i)) : u32(i + 1, i),
)
const stats = Buffer.concat([
  nested(STATS, ...narrowStats),
  nested(STATS64, attribute(11, Buffer.alloc(0)), ...wideStats),
])
const connections = Buffer.concat([u32(7, 1), u32(8, 2), u32(9, 3)])

t.test('a request to create a service has the bytes that the kernel documents', async t => {
  const request = {
    family: 0x1d,
    command: COMMAND.NEW_SERVICE,
    attributes: [nested(SERVICE, composeService(web))],
  }
  const expected = [
    '5c000000 1d00 0500 07000000 00000000', // length, type, REQUEST|ACK, sequence, port
    '01 01 0000', //                           NEW_SERVICE, version
    '4800 0180', //                            SERVICE, nested
    '0600 0100 0200 0000', //                  AF_INET
    '0600 0200 0600 0000', //                  TCP
    '0800 0300 0a000001', //                   10.0.0.1
    '0600 0400 0050 0000', //                  port 80, network order
    '0700 0600 727200 00', //                  "rr"
    '0c00 0700 00000000 3d000000', //          flags, and the mask of those that we know
    '0800 0800 00000000', //                   persistence time-out
    '0800 0900 ffffffff', //                   netmask
  ]
  const bytes = composeRequest(request, NLM_F.ACK, 7)
  t.equal(bytes.toString('hex'), expected.join('').replaceAll(' ', ''))
})

t.test('parseService() reads back every service that composeService() writes', async t => {
  fc.assert(
    fc.property(arbitrary.service, wished => {
      const service = canonicalService(wished)
      const status = parseService(Buffer.concat([composeService(service), stats]))
      t.strictSame(status.service, service)
      t.strictSame(canonicalService(status.service), service, 'canonical is canonical')
    }),
  )
})

t.test('parseDestination() reads back every destination that is written', async t => {
  const both = arbitrary.serviceId.chain(id =>
    arbitrary.destinationOf(id).map(wished => [id, wished] as const),
  )
  fc.assert(
    fc.property(both, ([id, wished]) => {
      const destination = canonicalDestination(wished, id)
      const bytes = Buffer.concat([composeDestination(destination), connections, stats])
      const status = parseDestination(bytes)
      t.strictSame(status.destination, destination)
      t.strictSame(canonicalDestination(status.destination, id), destination)
    }),
  )
})

t.test('parseDaemon() reads back every daemon that composeDaemon() writes', async t => {
  fc.assert(
    fc.property(arbitrary.daemon, wished => {
      const daemon = { maxLength: 1, group: '224.0.0.81', port: 1, ttl: 1, ...wished }
      t.strictSame(parseDaemon(composeDaemon(canonicalDaemon(daemon))), daemon)
    }),
  )
})

t.test('parseTimeouts() reads back what composeTimeouts() writes', async t => {
  const timeouts = { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 }
  t.strictSame(parseTimeouts(Buffer.concat(composeTimeouts(timeouts))), timeouts)
})

t.test('counters are 64 bits wide where the kernel has them, else 32', async t => {
  const both = parseService(Buffer.concat([composeService(web), stats])).stats
  t.equal(both.connections, 1n << 40n)
  t.equal(both.outgoingBytesPerSecond, (1n << 40n) + 9n)
  const narrow = nested(STATS, ...narrowStats)
  const old = parseService(Buffer.concat([composeService(web), narrow])).stats
  t.equal(old.incomingBytes, 3n)
  t.equal(old.connectionsPerSecond, 5n)
})

t.test('arbitrary bytes are refused as IPVS_BAD_REPLY, and nothing else happens', async t => {
  const parsers: Readonly<Record<string, (bytes: Buffer) => unknown>> = {
    splitMessages,
    parseAttributes,
    parseGeneric,
    parseFamilyId,
    parseService,
    parseDestination,
    parseDaemon,
    parseTimeouts,
    parseInfo,
    parseVerdict: bytes => splitMessages(bytes).map(parseVerdict),
    parseWords: payload => parseVerdict({ type: 2, flags: 0x200, sequence: 1, payload }),
    parseCapped: payload => parseVerdict({ type: 2, flags: 0x300, sequence: 1, payload }),
  }
  const whole = [
    Buffer.concat([composeService(web), stats]),
    Buffer.concat([composeDestination(backend), connections, stats]),
    composeRequest({ family: 16, command: 1, attributes: [] }, 0, 1),
  ]
  // Random bytes hardly get past the first length; good ones with an error do.
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map(array => Buffer.from(array)),
    fc
      .tuple(fc.constantFrom(...whole), fc.nat(), fc.nat(255), fc.nat())
      .map(([good, at, byte, cut]) => {
        const bad = Buffer.from(good)
        bad[at % bad.length] = byte
        return bad.subarray(0, 1 + (cut % bad.length))
      }),
  )
  for (const [name, parse] of Object.entries(parsers)) {
    fc.assert(
      fc.property(bytes, input => {
        try {
          parse(input)
        } catch (error) {
          if (!(error instanceof IpvsError) || error.code !== 'IPVS_BAD_REPLY') throw error
        }
      }),
      { numRuns: 500 },
    )
    t.pass(name)
  }
})

t.test('composeAddress() writes IPv6 as the C library does', async t => {
  fc.assert(
    fc.property(fc.ipV6(), text => {
      const family = 'ipv6'
      const ours = composeAddress(parseAddress(text, 'address'))
      const theirs = new SocketAddress({ address: ours, family }).address
      const direct = new SocketAddress({ address: text, family }).address
      t.equal(theirs, direct, 'the same address')
      // The C library also writes the deprecated ::1.2.3.4 dotted, and RFC 5952 does not.
      if (!/^::\d+\./.test(direct)) t.equal(ours, direct)
    }),
  )
  for (const [text, canonical] of [
    ['::', '::'],
    ['::1', '::1'],
    ['FD00:0:0:1:0:0:0:1', 'fd00:0:0:1::1'],
    ['1:0:0:2:0:0:3:4', '1::2:0:0:3:4'],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['::ffff:10.0.0.1', '::ffff:10.0.0.1'],
    ['64:ff9b::10.0.0.1', '64:ff9b::a00:1'],
  ] as const) {
    t.equal(composeAddress(parseAddress(text, 'address')), canonical)
  }
})

t.test('canonicalService() leaves out defaults and orders the rest', async t => {
  const wished: Service = {
    kind: 'address',
    protocol: 'udp',
    address: 'FD00:0::1',
    port: 53,
    scheduler: 'sh',
    flags: ['source-port', 'one-packet', 'source-port'],
    persistence: { timeoutSeconds: 5 },
  }
  t.strictSame(canonicalService(wished), {
    ...wished,
    address: 'fd00::1',
    flags: ['one-packet', 'source-port'],
    persistence: { timeoutSeconds: 5, prefixLength: 128 },
  })
  t.strictSame(canonicalService({ ...web, flags: [] }), web)
  const persistence = { timeoutSeconds: 5, netmask: '255.255.0.0' }
  const expected = { timeoutSeconds: 5, prefixLength: 16 }
  t.strictSame(canonicalService({ ...web, persistence }).persistence, expected, 'it is a prefix')
  const zeros = { ...backend, upperThreshold: 0, lowerThreshold: 0 }
  t.strictSame(canonicalDestination(zeros, web), backend)
})

/** What a caller without types can pass. */
const untyped = <T>(value: unknown): T => value as T

t.test('bad input is refused before it is sent, by a sentence that names it', async t => {
  const service = (more: object): (() => unknown) => {
    return () => canonicalService(untyped({ ...web, ...more }))
  }
  const fwmark = (more: object): (() => unknown) => {
    const id: ServiceId = { kind: 'fwmark', family: 4, mark: 1 }
    return () => canonicalService(untyped({ ...id, scheduler: 'rr', ...more }))
  }
  const destination = (more: object): (() => unknown) => {
    return () => canonicalDestination(untyped({ ...backend, ...more }), web)
  }
  const through = (forwarding: unknown): (() => unknown) =>
    destination({ forwarding: untyped<Forwarding>(forwarding) })
  const daemon = (more: object): (() => unknown) => {
    const good: SyncDaemon = { state: 'master', interface: 'eth0', syncId: 1 }
    return () => canonicalDaemon(untyped({ ...good, ...more }))
  }
  const kind = 'tunnel'
  const cases: readonly (readonly [() => unknown, RegExp])[] = [
    [service({ kind: 'name' }), /kind of service "name"/],
    [service({ protocol: 'icmp' }), /protocol "icmp" is none of tcp, udp, sctp/],
    [service({ address: 'web' }), /service address "web"/],
    [service({ address: undefined }), /service address undefined/],
    [service({ address: 'fe80::1%eth0' }), /without port or zone/],
    [service({ port: 65536 }), /service port 65536/],
    [service({ port: 1.5 }), /service port 1.5/],
    [service({ port: '80' }), /service port 80 is no whole number/],
    [service({ port: 0 }), /port 0, which is every port, needs persistence/],
    [service({ scheduler: '' }), /scheduler ""/],
    [service({ scheduler: 'sixteen-letters-' }), /scheduler "sixteen-letters-"/],
    [service({ scheduler: 'r\0r' }), /no name of 1 to 15 characters/],
    [service({ scheduler: undefined }), /scheduler "undefined"/],
    [service({ flags: ['one-packet'] }), /"one-packet" is for udp/],
    [service({ flags: ['hashed'] }), /service flag "hashed"/],
    [service({ persistence: { timeoutSeconds: 0 } }), /persistence timeout 0/],
    [service({ persistence: { timeoutSeconds: 4_294_968 } }), /persistence timeout 4294968/],
    [service({ persistence: { timeoutSeconds: 1, prefixLength: 33 } }), /prefix length 33/],
    [service({ persistence: { timeoutSeconds: 1, netmask: 'ffff::' } }), /is for IPv4/],
    [
      service({ persistence: { timeoutSeconds: 1, netmask: '255.0.0.0', prefixLength: 8 } }),
      /without a prefix length/,
    ],
    [
      service({ address: 'fd00::1', persistence: { timeoutSeconds: 1, prefixLength: 0 } }),
      /prefix length 0/,
    ],
    [service({ persistenceEngine: 'sixteen-letters-' }), /persistence engine/],
    [fwmark({ mark: 0 }), /mark 0/],
    [fwmark({ mark: 2 ** 32 }), /mark 4294967296/],
    [fwmark({ family: 5 }), /address family "5" is none of 4, 6/],
    [destination({ address: '10.0.0.1:80' }), /destination address "10.0.0.1:80"/],
    [destination({ address: 'fd00::2' }), /of the other family/],
    [destination({ port: -1 }), /destination port -1/],
    [destination({ weight: -1 }), /weight -1/],
    [destination({ weight: 2 ** 31 }), /weight 2147483648/],
    [destination({ weight: NaN }), /weight NaN/],
    [destination({ lowerThreshold: 1 }), /lower threshold 1 is above the upper threshold 0/],
    [destination({ upperThreshold: 2 ** 32 }), /upper threshold 4294967296/],
    [through({ kind: 'nat' }), /forwarding method "nat"/],
    [through({ kind, encapsulation: 'vxlan' }), /encapsulation "vxlan"/],
    [through({ kind, encapsulation: 'gue', port: 0 }), /tunnel port 0/],
    [through({ kind, encapsulation: 'gre', flags: ['crc'] }), /tunnel flag "crc"/],
    [daemon({ state: 'both' }), /daemon state "both"/],
    [daemon({ interface: 'a-name-too-long-' }), /daemon interface/],
    [daemon({ syncId: 256 }), /sync id 256/],
    [daemon({ group: '10.0.0.1' }), /no multicast address/],
    [daemon({ port: 0 }), /daemon port 0/],
    [daemon({ ttl: 0 }), /daemon ttl 0/],
    [daemon({ maxLength: 0 }), /daemon message length 0/],
  ]
  for (const [attempt, message] of cases) {
    t.throws(attempt, { name: 'IpvsError', code: 'IPVS_BAD_INPUT', message })
  }
})
