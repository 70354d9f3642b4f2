/** What a user gets wrong: one sentence on standard error, an exit code, and nothing half made. */

import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { runInNetns } from '../../src/kernel/netns.js'
import { asRoot, commandLine, openHost, type CommandResult, type Host } from '../lab/host.js'
import { describeKernel } from './truth.js'

interface Mistake {
  readonly name: string
  readonly args: readonly string[]
  /** Text of a Compose file; its path follows `args`. */
  readonly file?: string
  /** Default 1. */
  readonly code?: number
  readonly says: RegExp
}

const good = `
name: shop
services:
  web: { command: [sleep, infinity], scale: 2, networks: [front] }
  db: { command: [sleep, infinity], networks: { front: { ipv4_address: 10.77.0.50 } } }
networks:
  front: { ipam: { config: [{ subnet: 10.77.0.0/24 }] } }
`
const serviceOn = (project: string, network: string, more = ''): string => `
name: ${project}
services:
  one: { command: [sleep, infinity], networks: { net: { ${more} } } }
networks:
  net: { ${network} }
`
const subnet = (cidr: string): string => `ipam: { config: [{ subnet: ${cidr} }] }`
const upFile = ['up', '-d', '-f']

/** A Compose file that is refused. */
const files: readonly Mistake[] = [
  { name: 'not YAML', args: upFile, file: 'services: [', says: /\.yaml/ },
  { name: 'an empty file', args: upFile, file: '', says: /./ },
  { name: 'no services', args: upFile, file: 'name: x\n', says: /services/ },
  {
    name: 'an unknown key',
    args: upFile,
    file: 'name: x\nservices: { a: { comand: x } }\n',
    says: /comand/,
  },
  {
    name: 'a wrong type',
    args: upFile,
    file: 'name: x\nservices: { a: { command: x, scale: many } }\n',
    says: /scale/,
  },
  {
    name: 'a dependency that is not there',
    args: upFile,
    file: 'name: x\nservices: { a: { command: x, depends_on: [b] } }\n',
    says: /"b"/,
  },
  {
    name: 'dependencies in a ring',
    args: upFile,
    file: 'name: x\nservices: { a: { command: x, depends_on: [b] }, b: { command: x, depends_on: [a] } }\n',
    says: /a|b/,
  },
  {
    name: 'a network that is not declared',
    args: upFile,
    file: 'name: x\nservices: { a: { command: x, networks: [nowhere] } }\n',
    says: /nowhere/,
  },
  {
    name: 'a bad project name',
    args: upFile,
    file: 'name: "Shop!"\nservices: { a: { command: x } }\n',
    says: /Shop!/,
  },
  {
    name: 'a subnet that is none',
    args: upFile,
    file: serviceOn('x', subnet('10.0.0.0/33')),
    says: /10\.0\.0\.0\/33/,
  },
  {
    name: 'a subnet over another network',
    args: upFile,
    file: serviceOn('x', subnet('10.77.0.128/25')),
    says: /shop_front/,
  },
  {
    name: 'a subnet over a route of the host',
    args: upFile,
    file: serviceOn('x', subnet('198.51.100.0/25')),
    says: /198\.51\.100\.0/,
  },
  {
    name: 'an address outside its subnet',
    args: upFile,
    file: serviceOn('x', subnet('10.78.0.0/24'), 'ipv4_address: 10.79.0.5'),
    says: /10\.79\.0\.5/,
  },
  {
    name: 'an address that is the gateway',
    args: upFile,
    file: serviceOn('x', subnet('10.78.0.0/24'), 'ipv4_address: 10.78.0.1'),
    says: /10\.78\.0\.1/,
  },
  {
    name: 'a static address for two replicas',
    args: upFile,
    file: serviceOn('x', subnet('10.78.0.0/24'), 'ipv4_address: 10.78.0.5').replace(
      '[sleep, infinity]',
      '[sleep, infinity], scale: 2',
    ),
    says: /share one address/,
  },
  {
    name: 'an address that another has',
    args: upFile,
    file: 'name: x\nservices: { a: { command: [sleep, infinity], networks: { net: { ipv4_address: 10.77.0.50 } } } }\nnetworks: { net: { external: true, name: shop_front } }\n',
    says: /10\.77\.0\.50/,
  },
  {
    name: 'an external network that is not there',
    args: upFile,
    file: serviceOn('x', 'external: true, name: gone'),
    says: /gone/,
  },
  {
    name: 'a container name that is taken',
    args: upFile,
    file: 'name: x\nservices: { a: { command: [sleep, infinity], container_name: shop-web-1 } }\n',
    says: /shop-web-1/,
  },
  {
    name: 'a driver option that is not there',
    args: upFile,
    file: serviceOn('x', 'driver_opts: { nosuch: "1" }'),
    says: /nosuch/,
  },
  {
    name: 'a driver that is not there',
    args: upFile,
    file: serviceOn('x', 'driver: token-ring'),
    says: /token-ring/,
  },
  {
    name: 'a name too long for DNS',
    args: upFile,
    file: `name: x\nservices: { a: { command: [sleep, infinity], networks: { default: { aliases: [${'a'.repeat(64)}] } } } }\n`,
    says: /63/,
  },
]

/** A command that is refused by the daemon. */
const commands: readonly Mistake[] = [
  { name: 'no such container to exec', args: ['exec', 'nobody', 'true'], says: /"nobody"/ },
  { name: 'no such container to stop', args: ['stop', 'nobody'], says: /"nobody"/ },
  {
    name: 'no such container to ask from',
    args: ['dig', '--from', 'nobody', 'web'],
    says: /"nobody"/,
  },
  {
    name: 'no such container to explain',
    args: ['explain', '--from', 'nobody', 'web'],
    says: /"nobody"/,
  },
  { name: 'no such log', args: ['logs', 'nobody'], says: /"nobody"/ },
  { name: 'no such network to remove', args: ['network', 'rm', 'nowhere'], says: /"nowhere"/ },
  {
    name: 'no such network to inspect',
    args: ['network', 'inspect', 'nowhere'],
    says: /"nowhere"/,
  },
  {
    name: 'no such network to join',
    args: ['network', 'connect', 'nowhere', 'shop-web-1'],
    says: /"nowhere"/,
  },
  { name: 'no such project', args: ['down', '-p', 'nothing'], says: /"nothing"/ },
  { name: 'no such service', args: ['scale', '-p', 'shop', 'nosuch=2'], says: /"nosuch"/ },
  { name: 'a network in use', args: ['network', 'rm', 'shop_front'], says: /shop-web-1/ },
  { name: 'a built-in network', args: ['network', 'rm', 'bridge'], says: /"bridge"/ },
  { name: 'a network twice', args: ['network', 'create', 'shop_front'], says: /"shop_front"/ },
  {
    name: 'a network name that is none',
    args: ['network', 'create', 'no/slash'],
    says: /no\/slash/,
  },
  {
    name: 'an overlapping network',
    args: ['network', 'create', '--subnet', '10.77.0.0/16', 'wide'],
    says: /shop_front/,
  },
  {
    name: 'a gateway outside',
    args: ['network', 'create', '--subnet', '10.80.0.0/24', '--gateway', '10.81.0.1', 'lab'],
    says: /10\.81\.0\.1/,
  },
  {
    name: 'joined already',
    args: ['network', 'connect', 'shop_front', 'shop-web-1'],
    says: /already/,
  },
  { name: 'not joined', args: ['network', 'disconnect', 'bridge', 'shop-web-1'], says: /not on/ },
  {
    name: 'a taken address to join with',
    args: ['network', 'connect', '--ip', '10.77.0.50', 'bridge', 'shop-web-1'],
    says: /10\.77\.0\.50/,
  },
  {
    name: 'a name that is taken',
    args: ['rename', 'shop-web-1', 'shop-web-2'],
    says: /"shop-web-2"/,
  },
  { name: 'a name that is none', args: ['rename', 'shop-web-1', '-x'], says: /-x/, code: 2 },
  {
    name: 'a record type that is none',
    args: ['dig', '--from', 'shop-web-1', 'web', 'NOSUCH'],
    says: /NOSUCH/,
  },
]

/** A command line that is wrong by itself. */
const usage: readonly Mistake[] = [
  { name: 'an unknown command', args: ['upp'], code: 2, says: /upp/ },
  { name: 'an unknown option', args: ['ps', '--nosuch'], code: 2, says: /--nosuch/ },
  { name: 'a missing argument', args: ['exec'], code: 2, says: /container/ },
  { name: 'a missing option', args: ['dig', 'web'], code: 2, says: /--from/ },
  { name: 'no number of replicas', args: ['scale', 'web=many'], code: 2, says: /web=many/ },
  { name: 'no number of lines', args: ['logs', '-n', 'all'], code: 2, says: /all/ },
  { name: 'no pair', args: ['network', 'create', '-o', 'mtu', 'lab'], code: 2, says: /mtu/ },
  {
    name: 'a file that is not there',
    args: ['up', '-f', '/nonexistent.yaml'],
    code: 2,
    says: /nonexistent/,
  },
  { name: 'no time', args: ['up', '-f', '/dev/null', '--timeout', 'soon'], code: 2, says: /soon/ },
]

t.test('mistakes are refused whole', asRoot, async t => {
  const host = await openHost(t)
  runInNetns(host.netns, () => {
    spawnSync('ip', ['link', 'add', 'lan0', 'type', 'bridge'])
    spawnSync('ip', ['address', 'add', '198.51.100.1/24', 'dev', 'lan0'])
    spawnSync('ip', ['link', 'set', 'lan0', 'up'])
  })
  t.teardown(() => runInNetns(host.netns, () => spawnSync('ip', ['link', 'del', 'lan0'])))
  await host.run(...upFile, host.writeFile('good.yaml', good))
  const before = await describeAll(host)
  for (const mistake of [...files, ...commands, ...usage]) {
    await t.test(mistake.name, async t => {
      const { args, file } = mistake
      const path = file === undefined ? [] : [host.writeFile('bad.yaml', file)]
      assertRefused(t, mistake, await host.cli(...args, ...path))
      t.equal(await describeAll(host), before, 'nothing changed')
    })
  }
  await host.run('down', '-p', 'shop', '-t', '0')
})

t.test('rights, roots and daemons', asRoot, async t => {
  const host = await openHost(t)
  await t.test('a second daemon on the same root', async t => {
    const { code, stderr } = await host.cli('daemon')
    t.equal(code, 1)
    t.match(stderr, /^portolan: [^\n]*(lock|in use|another|already)[^\n]*\n$/i)
    await t.resolves(host.status(), 'the first one goes on')
  })
  await t.test('a user without rights', async t => {
    chmodSync(host.root, 0o755)
    for (const args of [
      ['ps'],
      ['up', '-d', '-f', host.writeFile('good.yaml', good)],
      ['daemon'],
    ]) {
      const { status, stderr } = runInNetns(host.netns, () =>
        spawnSync(process.execPath, [commandLine, '--root', host.root, ...args], {
          uid: 65534,
          gid: 65534,
          cwd: '/',
          encoding: 'utf8',
        }),
      )
      t.equal(status, 1, args.join(' '))
      t.match(stderr, /^portolan: [^\n]*root[^\n]*\n$/, args.join(' '))
    }
  })
  await t.test('no daemon', async t => {
    await host.endDaemon()
    const { code, stderr } = await host.cli('ps')
    t.equal(code, 1)
    t.match(stderr, /^portolan: No daemon answers at [^\n]+\n$/)
  })
  await t.test('a root that cannot be written', async t => {
    const path = join(host.root, 'file')
    writeFileSync(path, '')
    const { code, stderr } = await host.cli('--root', join(path, 'below'), 'daemon')
    t.equal(code, 1)
    t.match(stderr, /^portolan: [^\n]+\n$/)
    t.match(stderr, path)
  })
  await t.test('a socket that is a directory', async t => {
    const root = join(host.root, 'other')
    mkdirSync(join(root, 'run', 'portolan.sock'), { recursive: true })
    const { code, stderr } = await host.cli('--root', root, 'daemon')
    t.equal(code, 1)
    t.match(stderr, /^portolan: [^\n]+\n$/)
  })
  await host.startDaemon()
})

t.test('networks created at the same time get different subnets', asRoot, async t => {
  const host = await openHost(t)
  const made = await Promise.all(
    Array.from({ length: 6 }, (_, i) =>
      host.api.call<{ readonly subnets: readonly { readonly subnet: string }[] }>(
        'POST',
        '/v1/networks',
        { name: `lab${i}` },
      ),
    ),
  )
  t.equal(new Set(made.map(({ subnets }) => subnets[0]?.subnet)).size, made.length)
})

function assertRefused(t: Test, { code = 1, says }: Mistake, result: CommandResult): void {
  t.equal(result.code, code, result.stderr)
  t.match(result.stderr, /^portolan: [^\n]+\n$/, 'one sentence')
  t.match(result.stderr, says)
}

/** Containers, networks and the kernel, as one text. */
async function describeAll(host: Host): Promise<string> {
  const parts = await Promise.all(
    ['/v1/containers', '/v1/networks', '/v1/projects'].map(path => host.api.call('GET', path)),
  )
  return `${parts.map(part => JSON.stringify(part)).join('\n')}\n${describeKernel(host)}`
}
