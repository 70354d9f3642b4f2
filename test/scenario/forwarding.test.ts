/** Section F of the resolver's specification: what is not ours goes to upstreams. */

import { readlinkSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { join } from 'node:path'
import t from 'tap'
import { TYPE } from '../../resolver/rr.js'
import { composeQuery } from '../../resolver/wire/query.js'
import { parseMessage } from '../../resolver/wire/message-text.js'
import { closeFd, openUdpSocket } from '../../src/kernel/socket.js'
import { runInNetns } from '../../src/kernel/netns.js'
import { createSocket } from 'node:dgram'
import {
  a,
  denying,
  drops,
  failing,
  forging,
  oversized,
  RECORD,
  txt,
  withoutEdns,
  world,
  type Behaviour,
  type ReceivedQuery,
  type UpstreamFixture,
} from '../fixtures/upstream.js'
import { ask, askUntil, sendMany } from '../lab/ask.js'
import { assertCovers } from '../lab/coverage.js'
import { asRoot, openHost, type Host } from '../lab/host.js'
import { runVectors, type Vector } from '../lab/vector.js'

/** Answers every TXT with its name and every A with U1's address. */
function answering(name: string): Behaviour {
  return ({ type }) => [
    { answers: type === RECORD.TXT ? [txt(name, 77)] : [a('203.0.113.10', 77)] },
  ]
}

/**
 * A container for each list of upstreams. They listen at 127.0.0.2, 127.0.0.3 ... of the container's
 * own loopback, since what `dns` names is asked from there; nobody listens where there is no behaviour.
 */
const lists: Readonly<Record<string, readonly (Behaviour | undefined)[]>> = {
  u2u1: [drops, answering('U1')],
  u9u1: [undefined, answering('U1')],
  u3u1: [failing, answering('U1')],
  u4u1: [denying, answering('U1')],
  u3: [failing],
  u2: [drops],
  u2u2u2: [drops, drops, drops],
  u5: [withoutEdns(world())],
  u6: [oversized(world())],
  u8: [answering('U1')],
  flood: [drops],
}

const container = { command: ['sleep', 'infinity'], stop_grace_period: '0s' }

function composeFile(): string {
  const listed = Object.entries(lists).map(([name, behaviours]) => [
    name,
    service(name, { dns: behaviours.map((_, i) => loopback(i)) }),
  ])
  return JSON.stringify({
    name: 'f',
    services: {
      plain: service('plain'),
      ...Object.fromEntries(listed),
      client: { ...container, networks: ['fwd'], scale: 10 },
      gateway: service('gateway', { dns: ['172.29.0.1'], networks: at('fwd', '172.29.0.2') }),
      own: service('own', { dns: ['127.0.0.1'] }),
      ourselves: service('ourselves', { dns: ['127.0.0.11'] }),
      ourselvesfirst: service('ourselvesfirst', { dns: ['127.0.0.11', loopback(0)] }),
      inner: service('inner', { networks: ['inside'] }),
      server: service('server', { networks: at('inside', '172.29.1.2') }),
      onnet: service('onnet', { dns: ['172.29.1.2'], networks: ['inside'] }),
      ndots1: service('ndots1', { dns_opt: ['ndots:1'] }),
      ndots0: service('ndots0', { dns_opt: ['ndots:0'] }),
    },
    networks: {
      fwd: { name: 'fwd', ipam: { config: [{ subnet: '172.29.0.0/24' }] } },
      inside: { name: 'inside', internal: true, ipam: { config: [{ subnet: '172.29.1.0/24' }] } },
    },
  })
}

function service(name: string, more: object = {}): object {
  return { ...container, container_name: name, networks: ['fwd'], ...more }
}

function at(network: string, address: string): object {
  return { [network]: { ipv4_address: address } }
}

function loopback(i: number): string {
  return `127.0.0.${i + 2}`
}

/** Opens the upstreams of `lists` where the containers ask them. */
async function openLists(host: Host): Promise<ReadonlyMap<string, readonly UpstreamFixture[]>> {
  const opened = new Map<string, UpstreamFixture[]>()
  for (const [name, behaviours] of Object.entries(lists)) {
    const netns = await host.netnsOf(name)
    const upstreams: UpstreamFixture[] = []
    for (const [i, behaviour] of behaviours.entries()) {
      if (behaviour === undefined) continue
      upstreams.push(await host.listen({ address: loopback(i), netns }, behaviour))
    }
    opened.set(name, upstreams)
  }
  return opened
}

const vectors: readonly Vector[] = [
  { n: 128, from: 'plain', ask: 'test.example A', expect: 'FWD 203.0.113.10', ttl: 77 },
  { n: 138, from: 'plain', ask: 'refused.example A', expect: 'SERVFAIL' },
  { n: 151, from: 'inner', ask: 'test.example A', expect: 'SERVFAIL', withinMs: 50 },
  { n: 154, from: 'ndots1', ask: 'test A', expect: 'ND' },
  { n: 154, from: 'ndots1', ask: 'test.example A', expect: 'FWD 203.0.113.10' },
  { n: 155, from: 'ndots0', ask: 'test A', expect: 'FWD 203.0.113.10' },
]

/** 138 has a final SERVFAIL for a question that did reach U1. */
const forwardedVectors = vectors.map(vector =>
  vector.n === 138 ? { ...vector, expect: 'FWD SERVFAIL' } : vector,
)

const numbers = new Set(vectors.map(({ n }) => n))
/** A subtest that runs vectors by itself. */
function vectorTest(ns: readonly number[], name: string, body: (t: Tap) => Promise<void>): void {
  for (const n of ns) numbers.add(n)
  bodies.push({ name: `${ns.join(', ')}: ${name}`, body })
}
