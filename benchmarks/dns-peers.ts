/** The servers of the DNS benchmark: how each is configured for the same names and started. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SERVER_ADDRESS, UPSTREAM_ADDRESS } from './dns-lab.js'

/** One server: `prepare` writes its configuration into a directory and says what to run. */
export interface Peer {
  readonly name: string
  /** Whether it can forward at all. */
  readonly canForward: boolean
  prepare(directory: string, names: number): Launch
}

export interface Launch {
  readonly command: readonly string[]
  /** The file that a daemon writes its process id to; without it the process started is it. */
  readonly pidFile?: string
}

/** The address of the name `c<index>`. */
export function addressOf(index: number): string {
  return `10.64.${index >> 8}.${index & 255}`
}

export const peers: readonly Peer[] = [
  { name: 'portolan', canForward: true, prepare: (_, names) => ours('batched', names) },
  { name: 'portolan-dgram', canForward: true, prepare: (_, names) => ours('portable', names) },
  { name: 'bare-dgram', canForward: false, prepare: (_, names) => ours('bare', names) },
  { name: 'dnsmasq', canForward: true, prepare: prepareDnsmasq },
  { name: 'unbound', canForward: true, prepare: prepareUnbound },
  { name: 'aardvark-dns', canForward: true, prepare: prepareAardvark },
]

/** What runs the upstream that answers everything. */
export const upstreamCommand = node('upstream', UPSTREAM_ADDRESS, 0)

function ours(mode: string, names: number): Launch {
  return { command: [...node(mode, SERVER_ADDRESS, names), UPSTREAM_ADDRESS] }
}

function node(mode: string, address: string, names: number): readonly string[] {
  const program = new URL('dns-serve.js', import.meta.url).pathname
  return [process.execPath, program, mode, address, String(names)]
}

function prepareDnsmasq(directory: string, names: number): Launch {
  const hosts = join(directory, 'hosts')
  writeFileSync(
    hosts,
    linesOf(names, (name, address) => `${address} ${name}`),
  )
  const options = [
    '--conf-file=/dev/null',
    '--keep-in-foreground',
    '--no-resolv',
    '--no-hosts',
    `--addn-hosts=${hosts}`,
    `--listen-address=${SERVER_ADDRESS}`,
    '--bind-interfaces',
    '--cache-size=0',
    '--dns-forward-max=2000',
    `--server=${UPSTREAM_ADDRESS}`,
    '--user=root',
    '--pid-file=',
  ]
  return { command: ['dnsmasq', ...options] }
}

function prepareUnbound(directory: string, names: number): Launch {
  const file = join(directory, 'unbound.conf')
  const data = linesOf(names, (name, address) => `  local-data: "${name}. 0 IN A ${address}"`)
  const server = `server:
  interface: ${SERVER_ADDRESS}
  access-control: 0.0.0.0/0 allow
  num-threads: 1
  do-daemonize: no
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  verbosity: 0
  module-config: "iterator"
  msg-cache-size: 0
  rrset-cache-size: 0
  outgoing-range: 2048
  num-queries-per-thread: 2048
`
  const forward = `forward-zone:\n  name: "."\n  forward-addr: ${UPSTREAM_ADDRESS}\n`
  writeFileSync(file, `${server}${data}${forward}remote-control:\n  control-enable: no\n`)
  return { command: ['unbound', '-d', '-c', file] }
}

function prepareAardvark(directory: string, names: number): Launch {
  const config = join(directory, 'aardvark')
  mkdirSync(config, { recursive: true })
  let id = 0
  const lines = linesOf(names, (name, address) => {
    return `${(id++).toString(16).padStart(64, '0')} ${address}  ${name}`
  })
  // The load generator has to be a container of the network: others are not forwarded for.
  const client = `${'f'.repeat(64)} ${UPSTREAM_ADDRESS}  client\n`
  writeFileSync(join(config, 'bench'), `${SERVER_ADDRESS} ${UPSTREAM_ADDRESS}\n${client}${lines}`)
  const binary = '/usr/lib/podman/aardvark-dns'
  return {
    command: [binary, '--config', config, '--port', '53', 'run'],
    pidFile: join(config, 'aardvark.pid'),
  }
}

/** The process id in a daemon's file; NaN until it is written. */
export function readPid(file: string): number {
  try {
    return Number.parseInt(readFileSync(file, 'utf8'), 10)
  } catch {
    return Number.NaN
  }
}

function linesOf(names: number, line: (name: string, address: string) => string): string {
  return Array.from({ length: names }, (_, i) => `${line(`c${i}`, addressOf(i))}\n`).join('')
}
