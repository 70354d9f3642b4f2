/**
 * The same way as the IPVS dataplane's, set up by hand as a person would with ip, nft and ipvsadm: a
 * namespace with a link to the host and one to the ingress network, services by firewall mark. Without
 * what guards it and without IPv6.
 */

import { closeNetns, createNetns, runInNetns } from '../src/kernel/netns.js'
import { writeSysctl } from '../src/kernel/sysctl.js'
import { PLACE } from '../test/lab/mesh-host.js'
import { BULK, WEB, type MeshLab } from './mesh-lab.js'

const LINK = { host: '198.18.0.1', ingress: '198.18.0.2' } as const
const SERVICES = [
  { mark: 1, port: WEB.published },
  { mark: 2, port: BULK.published },
] as const

/** Returns what takes it away again. */
export function openHandmadeIpvs(lab: MeshLab): () => void {
  const { host } = lab
  const ingress = createNetns()
  const inHost = (...command: string[]): string => lab.run(host, command)
  const inIngress = (...command: string[]): string => lab.run(ingress, command)
  const peer = `/proc/${process.pid}/fd/${ingress.fd}`
  inHost(...words(`ip link add up0 type veth peer name eth0 netns ${peer}`))
  inHost(...words(`ip link add down0 type veth peer name ing0 netns ${peer}`))
  inHost(...words(`ip link set down0 master ${PLACE.bridge} up`))
  inHost(...words(`ip addr add ${LINK.host}/24 dev up0`))
  inHost(...words('ip link set up0 up'))
  inIngress(...words(`ip link set ing0 address ${PLACE.ipvs.mac} up`))
  inIngress(...words(`ip addr add ${PLACE.ipvs.ipv4}/24 dev ing0`))
  inIngress(...words(`ip addr add ${LINK.ingress}/24 dev eth0`))
  inIngress(...words('ip link set eth0 up'))
  inIngress(...words(`ip route add default via ${LINK.host}`))
  inHost('nft', composeHost())
  inIngress('nft', composeIngress())
  runInNetns(ingress, () => {
    writeSysctl('net.ipv4.ip_forward', '1')
    writeSysctl('net.ipv4.vs.conntrack', '1')
    writeSysctl('net.ipv4.vs.conn_reuse_mode', '1')
    writeSysctl('net.netfilter.nf_conntrack_tcp_be_liberal', '1')
  })
  for (const { mark, port } of SERVICES) {
    inIngress(...words(`ipvsadm -A -f ${mark} -s rr`))
    const replicas = port === BULK.published ? lab.replicas.slice(0, 1) : lab.replicas
    for (const { destination } of replicas) {
      inIngress(...words(`ipvsadm -a -f ${mark} -r ${destination.ipv4 ?? ''}:0 -m`))
    }
  }
  return () => {
    inHost('nft', 'delete table ip handmade')
    for (const link of ['up0', 'down0']) inHost(...words(`ip link del ${link}`))
    closeNetns(ingress)
  }
}

function composeHost(): string {
  const ports = SERVICES.map(({ port }) => port).join(', ')
  return `table ip handmade {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local tcp dport { ${ports} } dnat to ${LINK.ingress}
  }
}`
}

function composeIngress(): string {
  const marks = SERVICES.map(({ mark, port }) => `${port} : ${mark}`).join(', ')
  return `table ip handmade {
  chain prerouting {
    type filter hook prerouting priority mangle; policy accept;
    iifname "eth0" meta mark set tcp dport map { ${marks} }
  }
}`
}

function words(line: string): string[] {
  return line.split(' ')
}
