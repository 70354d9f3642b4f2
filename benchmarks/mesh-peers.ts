/** What leads a port of the host to replicas: ours, and what people use today. */

import { closeSync, existsSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { IpvsDataplane } from '../mesh/dataplane/ipvs/ipvs.js'
import { NftablesDataplane } from '../mesh/dataplane/nftables/nftables.js'
import { runInNetns } from '../src/kernel/netns.js'
import { runNft } from '../src/kernel/nft.js'
import { HOST, PLACE } from '../test/lab/mesh-host.js'
import { openHandmadeIpvs } from './mesh-ipvsadm.js'
import { BULK, familyOf, WEB, type MeshLab } from './mesh-lab.js'
import { openSwarm } from './mesh-swarm.js'
import type { Dataplane } from '../mesh/dataplane/dataplane.js'
import type { VirtualService } from '../mesh/state.js'

export interface Peer {
  readonly name: string
  /** The program that has to be there, and Debian's package of it. */
  readonly program?: string
  readonly packages?: readonly string[]
  open(lab: MeshLab): Promise<Way> | Way
}

/** How a client gets to the replicas. */
export interface Way {
  /** `ADDRESS PORT`; clients spread over them. */
  readonly web: readonly string[]
  /** To one replica, as both connections of one measurement have to meet. */
  readonly bulk: string
  /** Processes that every byte or connection goes through. */
  pids(): readonly number[]
  close(): Promise<void> | void
}

const published = {
  web: [`${HOST.v4} ${WEB.published}`],
  bulk: `${HOST.v4} ${BULK.published}`,
}

export const peers: readonly Peer[] = [
  { name: 'direct', open: openDirect },
  { name: 'dnat', open: openDnat },
  { name: 'nftables', open: lab => openDataplane(lab, openNftables) },
  { name: 'ipvs', open: lab => openDataplane(lab, openIpvs) },
  { name: 'ipvsadm', program: 'ipvsadm', packages: ['ipvsadm'], open: openHandmade },
  { name: 'swarm', program: 'dockerd', packages: ['docker.io'], open: openSwarm },
  { name: 'userspace', open: openUserspace },
  { name: 'haproxy', program: 'haproxy', packages: ['haproxy'], open: openHaproxy },
  { name: 'nginx', program: 'nginx', packages: ['libnginx-mod-stream'], open: openNginx },
  { name: 'docker-proxy', program: 'docker-proxy', packages: ['docker.io'], open: openDockerProxy },
]

/** The services of our own dataplanes. `isBare`: replicas without the rules of a sandbox. */
export function servicesOf(lab: MeshLab, isBare: boolean): VirtualService[] {
  return [WEB, BULK].map(({ target, published }, index) => {
    // A long transfer takes two connections to one replica.
    const replicas = target === BULK.target ? lab.replicas.slice(0, 1) : lab.replicas
    return {
      ...{ key: `bench${index}`, name: `bench/${index}`, mark: index + 1, scheduler: 'rr' },
      ports: [{ protocol: 'tcp', first: published, last: published }],
      affinity: { kind: 'none' },
      destinations: replicas.map(({ address, destination }) =>
        isBare
          ? { ...{ id: destination.id, ipv4: address, port: target }, weight: 1, ownAddresses: [] }
          : destination,
      ),
    }
  })
}

function openDirect({ replicas }: MeshLab): Way {
  return {
    web: replicas.map(({ address }) => `${address} ${WEB.target}`),
    bulk: `${replicas[0]?.address ?? ''} ${BULK.target}`,
    pids: () => [],
    close: () => undefined,
  }
}

/** The least that the kernel's translation can be: one rule a port, and nothing that guards or counts. */
function openDnat(lab: MeshLab): Way {
  const addresses = lab.replicas.map(({ address }) => address)
  const choice = addresses.map((address, index) => `${index} : ${address}`).join(', ')
  const rules = [
    `tcp dport ${WEB.published} dnat to numgen random mod ${addresses.length} map { ${choice} } : ${WEB.target}`,
    `tcp dport ${BULK.published} dnat to ${addresses[0] ?? ''}:${BULK.target}`,
  ]
  const hook = 'type nat hook prerouting priority dstnat; policy accept;'
  runInNetns(lab.host, () =>
    runNft(
      `table ip bare {\n  chain prerouting {\n    ${hook}\n    ${rules.join('\n    ')}\n  }\n}\n`,
    ),
  )
  return {
    ...published,
    pids: () => [],
    close: () => runInNetns(lab.host, () => runNft('delete table ip bare')),
  }
}

async function openDataplane(lab: MeshLab, open: (lab: MeshLab) => Dataplane): Promise<Way> {
  lab.openSandboxes()
  const dataplane = runInNetns(lab.host, () => open(lab))
  const services = servicesOf(lab, false)
  await dataplane.reconcile(new Map(services.map(service => [service.key, service])))
  return {
    ...published,
    pids: () => [],
    close: async () => {
      await dataplane.remove()
      lab.closeSandboxes()
    },
  }
}

function openNftables(): Dataplane {
  return NftablesDataplane.open({ place: PLACE, table: 'portolan_mesh' })
}

function openIpvs({ folder }: MeshLab): Dataplane {
  const nsPath = join(folder, 'ipvs', 'ingress')
  return IpvsDataplane.open({ place: PLACE, table: 'portolan_mesh', nsPath })
}

function openHandmade(lab: MeshLab): Way {
  lab.openSandboxes()
  const remove = openHandmadeIpvs(lab)
  return {
    ...published,
    pids: () => [],
    close: () => {
      remove()
      lab.closeSandboxes()
    },
  }
}

function openUserspace(lab: MeshLab): Way {
  const program = new URL('mesh-serve.js', import.meta.url).pathname
  return openProcess(lab, [process.execPath, program, JSON.stringify(servicesOf(lab, true))])
}

/** Its own defaults: a thread for each core. */
function openHaproxy(lab: MeshLab): Way {
  const listen = ({ published, target }: typeof WEB | typeof BULK, addresses: string[]): string => {
    const servers = addresses.map((at, i) => `  server s${i} ${at}:${target}\n`).join('')
    return `listen p${published}\n  bind ${HOST.v4}:${published}\n  balance roundrobin\n${servers}`
  }
  const addresses = lab.replicas.map(({ address }) => address)
  const text = `global
  maxconn 8000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
${listen(WEB, addresses)}${listen(BULK, addresses.slice(0, 1))}`
  return openProcess(lab, ['haproxy', '-db', '-q', '-f', lab.write('haproxy.conf', text)])
}

/** A worker for each core. */
function openNginx(lab: MeshLab): Way {
  const addresses = lab.replicas.map(({ address }) => address)
  const serve = ({ published, target }: typeof WEB | typeof BULK, to: string[]): string => {
    const servers = to.map(at => `server ${at}:${target};`).join(' ')
    return `  upstream u${published} { ${servers} }
  server { listen ${HOST.v4}:${published} backlog=4096; proxy_pass u${published}; }
`
  }
  const text = `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes auto;
pid ${join(lab.folder, 'nginx.pid')};
error_log /dev/null;
events { worker_connections 8000; }
stream {
${serve(WEB, addresses)}${serve(BULK, addresses.slice(0, 1))}}
`
  return openProcess(lab, ['nginx', '-c', lab.write('nginx.conf', text)])
}

/** Knows one container a port: as many processes as replicas, and the load spreads over them. */
function openDockerProxy(lab: MeshLab): Way {
  const program = ['/usr/sbin/docker-proxy', '/usr/libexec/docker/docker-proxy'].find(existsSync)
  const start = (port: number, address: string, target: number): Way => {
    const to = ['-container-ip', address, '-container-port', String(target)]
    const from = ['-proto', 'tcp', '-host-ip', HOST.v4, '-host-port', String(port)]
    // Where it says that it is ready.
    const told = openSync('/dev/null', 'w')
    try {
      return openProcess(lab, [program ?? 'docker-proxy', ...from, ...to], [told])
    } finally {
      closeSync(told)
    }
  }
  const ways = lab.replicas.map(({ address }, i) => start(WEB.published + i, address, WEB.target))
  const [first] = lab.replicas
  if (first !== undefined) ways.push(start(BULK.published, first.address, BULK.target))
  return {
    web: lab.replicas.map((_, i) => `${HOST.v4} ${WEB.published + i}`),
    bulk: published.bulk,
    pids: () => ways.flatMap(way => way.pids()),
    close: async () => {
      for (const way of ways) await way.close()
    },
  }
}

function openProcess(lab: MeshLab, command: readonly string[], more: readonly number[] = []): Way {
  const child = lab.start(lab.host, command, more)
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()))
  return {
    ...published,
    pids: () => (child.pid === undefined ? [] : familyOf(child.pid)),
    close: async () => {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), 2_000)
      await ended
      clearTimeout(timer)
    },
  }
}
