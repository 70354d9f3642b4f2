/** Records of a catalog with few words: `container('web1', { on: [front] })`. */

import { allocationKey, type Allocation } from '../../src/catalog/allocation.js'
import { emptySnapshot, type Snapshot } from '../../src/catalog/catalog.js'
import { applyChanges } from '../../src/catalog/apply.js'
import type { Change } from '../../src/catalog/change.js'
import { initialStatus, type Container, type ContainerStatus } from '../../src/catalog/container.js'
import type { Endpoint } from '../../src/catalog/endpoint.js'
import type { Network, NetworkSpec } from '../../src/catalog/network.js'
import type { ProjectSpec } from '../../src/catalog/project.js'
import type {
  Attachment,
  ContainerSpec,
  Healthcheck,
  ServiceSpec,
} from '../../src/catalog/service.js'

/** 64 hexadecimal digits that begin with those of `text`'s bytes. */
export function idOf(text: string): string {
  return Buffer.from(text).toString('hex').padEnd(64, '0').slice(0, 64)
}

export function networkSpec(name: string, more: Partial<NetworkSpec> = {}): NetworkSpec {
  return {
    name,
    driver: 'bridge',
    options: {},
    subnets: [],
    hasIpv4: true,
    hasIpv6: false,
    isInternal: false,
    isAttachable: false,
    labels: {},
    ...more,
  }
}

/** Network `n` of the tests is 10.0.n.0/24 with its gateway at .1. */
export function network(name: string, n: number, more: Partial<Network> = {}): Network {
  const subnets = [{ subnet: `10.0.${n}.0/24`, gateway: `10.0.${n}.1`, auxAddresses: {} }]
  return {
    ...networkSpec(name, { subnets }),
    id: idOf(name),
    declaration: '',
    isBuiltin: false,
    createdAt: '2026-01-01T00:00:00.000Z',
    ...more,
  }
}

export function containerSpec(more: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    argv: ['sleep', 'infinity'],
    environment: {},
    networkMode: { kind: 'networks' },
    dns: [],
    dnsSearch: [],
    dnsOptions: [],
    extraHosts: [],
    links: [],
    restart: { condition: 'no' },
    stopSignal: 'SIGTERM',
    stopGraceMs: 10_000,
    labels: {},
    ...more,
  }
}

export const healthcheck: Healthcheck = {
  argv: ['true'],
  intervalMs: 1000,
  timeoutMs: 1000,
  retries: 3,
  startPeriodMs: 0,
  startIntervalMs: 1000,
}

/** An endpoint with the last octet `host` on `on`. */
export function endpoint(
  containerId: string,
  on: Network,
  host: number,
  more: Partial<Endpoint> = {},
): Endpoint {
  const prefix = on.subnets[0]?.subnet.replace(/0\/24$/, '') ?? ''
  return {
    id: idOf(`${on.name}.${host}`),
    networkId: on.id,
    containerId,
    aliases: [],
    ipv4: `${prefix}${host}/24`,
    isStatic: false,
    mac: '02:42:0a:00:00:02',
    interfaceName: 'eth0',
    gatewayPriority: 0,
    ...more,
  }
}

export function container(name: string, more: Partial<Container> = {}): Container {
  return {
    id: idOf(name),
    name,
    number: 1,
    spec: containerSpec(),
    attachments: [],
    ports: [],
    digest: '',
    endpoints: [],
    desired: 'running',
    createdAt: '2026-01-01T00:00:00.000Z',
    ...more,
  }
}

export function running(of: Container, more: Partial<ContainerStatus> = {}): ContainerStatus {
  return {
    ...initialStatus(of.id, of.spec.healthcheck !== undefined),
    state: 'running',
    ...more,
  }
}

export function attachment(to: string, more: Partial<Attachment> = {}): Attachment {
  return { network: to, aliases: [], gatewayPriority: 0, ...more }
}

export function service(name: string, more: Partial<ServiceSpec> = {}): ServiceSpec {
  return {
    name,
    replicas: 1,
    endpointMode: 'dnsrr',
    container: containerSpec(),
    attachments: [],
    dependsOn: [],
    ports: [],
    ...more,
  }
}

export function project(name: string, services: readonly ServiceSpec[]): ProjectSpec {
  const names = new Set(services.flatMap(one => one.attachments.map(to => to.network)))
  const networks = [...names].map(one => ({
    key: one,
    spec: networkSpec(one),
    isExternal: false,
  }))
  return { name, networks, services }
}

/** What the service of a project was given: by default a number alone. */
export function allocation(
  project: string,
  service: string,
  more: Partial<Allocation> = {},
): Allocation {
  const key = allocationKey(project, service)
  return { key, project, service, mark: 1, vips: {}, ports: [], ...more }
}

/** A snapshot that these records make, all containers given being put with a running status. */
export function snapshotOf(options: {
  readonly networks?: readonly Network[]
  readonly containers?: readonly Container[]
  readonly statuses?: readonly ContainerStatus[]
  readonly projects?: readonly ProjectSpec[]
  readonly allocations?: readonly Allocation[]
}): Snapshot {
  const { networks = [], containers = [], projects = [], allocations = [] } = options
  const changes: Change[] = [
    ...networks.map((one): Change => ({ op: 'put-network', network: one })),
    ...containers.map((one): Change => ({ op: 'put-container', container: one })),
    ...containers.map((one): Change => ({ op: 'put-status', status: running(one) })),
    ...(options.statuses ?? []).map((one): Change => ({ op: 'put-status', status: one })),
    ...projects.map((one): Change => ({ op: 'put-project', project: one })),
    ...allocations.map((one): Change => ({ op: 'put-allocation', allocation: one })),
  ]
  return applyChanges(emptySnapshot, changes).snapshot
}
