/**
 * The resolver's place in a sandbox: sockets at 127.0.0.11 on high ports, and our own nftables table
 * that leads port 53 to them, so that the container keeps port 53 for itself (spec: moby's resolver).
 */

import { closeSync } from 'node:fs'
import { runInNetns, type Netns } from '../kernel/netns.js'
import { listTables, queryNft, runNft } from '../kernel/nft.js'
import { openTcpListener, openUdpSocket } from '../kernel/socket.js'
import { sandboxTables } from './sandbox-watch.js'

/** Docker's address for it, which programs and images know. */
export const resolverAddress = '127.0.0.11'
/** Tried first, so that a restarted daemon finds the flows of the last one at the same port. */
const preferredPort = 35353
const tableName = sandboxTables.dns
/** A burst of queries waits here while the daemon is busy; the kernel's default holds about 270. */
const receiveBufferBytes = 1 << 20
const backlog = 512

export interface ResolverSockets {
  readonly udpFd: number
  readonly tcpFd: number
  readonly udpPort: number
  readonly tcpPort: number
}

export function openResolverSockets(netns: Netns): ResolverSockets {
  return runInNetns(netns, () => {
    const udp = firstFree(port =>
      openUdpSocket({ address: resolverAddress, port, receiveBufferBytes }),
    )
    try {
      const tcp = firstFree(port => openTcpListener({ address: resolverAddress, port, backlog }))
      return { udpFd: udp.fd, udpPort: udp.port, tcpFd: tcp.fd, tcpPort: tcp.port }
    } catch (error) {
      closeSync(udp.fd)
      throw error
    }
  })
}

/**
 * Puts the rules in where they are not, in the namespace of the calling moment. Returns whether it wrote. In a fresh sandbox nothing is replaced, which the kernel does in half a
 * millisecond; a replacement waits for every processor, as does each sandbox in a daemon's restart.
 */
export function installResolverRules(udpPort: number, tcpPort: number): boolean {
  const isThere = listTables().some(({ family, name }) => family === 'ip' && name === tableName)
  if (isThere && holdsRules(queryNft(`list table ip ${tableName}`), udpPort, tcpPort)) return false
  const clear = isThere ? `delete table ip ${tableName}\n` : ''
  runNft(clear + composeRules(udpPort, tcpPort))
  return true
}

/** Whether a listing has our four translations and no other rule. */
function holdsRules(listing: readonly unknown[], udpPort: number, tcpPort: number): boolean {
  const rules = listing.map(entry => JSON.stringify(entry)).filter(text => text.includes('"rule"'))
  const wanted = [udpPort, tcpPort].flatMap(port => [
    `{"dnat":{"addr":"${resolverAddress}","port":${port}}}`,
    `"right":${port}}},{"snat":{"port":53}}`,
  ])
  return rules.length === wanted.length && wanted.every(part => rules.some(r => r.includes(part)))
}

export function composeRules(udpPort: number, tcpPort: number): string {
  return `
table ip ${tableName} {
  chain to_resolver {
    type nat hook output priority -100; policy accept;
    ip daddr ${resolverAddress} udp dport 53 dnat to ${resolverAddress}:${udpPort}
    ip daddr ${resolverAddress} tcp dport 53 dnat to ${resolverAddress}:${tcpPort}
  }
  chain from_resolver {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${resolverAddress} udp sport ${udpPort} snat to :53
    ip saddr ${resolverAddress} tcp sport ${tcpPort} snat to :53
  }
}
`
}

function firstFree<T>(open: (port: number) => T): T {
  try {
    return open(preferredPort)
  } catch {
    // The container has it; any other will do.
    return open(0)
  }
}
