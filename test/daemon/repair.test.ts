/** What somebody else takes away from under a running daemon is back within moments. */

import { spawnSync } from 'node:child_process'
import t from 'tap'
import type { NetworkView } from '../../src/api/contract.js'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'
import { asRoot, openHost } from '../lab/host.js'
import { cpuMilliseconds } from '../lab/process.js'
import { Asker } from '../scenario/asker.js'
import { findFaults, findLastingFaults } from '../scenario/truth.js'

const file = `
name: mend
services:
  web: { command: [sleep, infinity], scale: 2, networks: [front], stop_grace_period: 0s }
  api: { command: [sleep, infinity], networks: [front, back], stop_grace_period: 0s }
networks: { front: {}, back: { internal: true } }
`

t.test('damage is mended', asRoot, async t => {
  const host = await openHost(t, { logLevel: 'error' })
  await host.run('up', '-d', '-f', host.writeFile('mend.yaml', file))
  const networks = await host.api.call<readonly NetworkView[]>('GET', '/v1/networks')
  const bridge = networks.find(({ name }) => name === 'mend_front')?.bridge ?? ''
  const veth =
    /^\d+: ([^@]+)@/.exec(run(host.netns, 'ip', '-o', 'link', 'show', 'master', bridge))?.[1] ?? ''
  const sandbox = await host.netnsOf('mend-web-1')
  const asker = Asker.open(await host.netnsOf('mend-web-2'))
  t.teardown(() => asker.close())
  const rules = run(host.netns, 'nft', 'list', 'ruleset')
  const hasVips = (): boolean => run(sandbox, 'nft', 'list', 'tables').includes('portolan_vip')

  const damages: readonly [string, Netns, readonly string[]][] = [
    ['a deleted bridge', host.netns, ['ip', 'link', 'del', bridge]],
    ['a deleted veth pair', host.netns, ['ip', 'link', 'del', veth]],
    ['an interface deleted inside', sandbox, ['ip', 'link', 'del', 'eth0']],
    ['a bridge that is down', host.netns, ['ip', 'link', 'set', bridge, 'down']],
    ['a bridge without its address', host.netns, ['ip', 'address', 'flush', 'dev', bridge]],
    ['flushed rules of the host', host.netns, ['nft', 'flush', 'ruleset']],
    ['flushed rules of a sandbox', sandbox, ['nft', 'flush', 'ruleset']],
    [
      'virtual addresses deleted in a sandbox',
      sandbox,
      ['nft', 'delete', 'table', 'inet', 'portolan_vip'],
    ],
    [
      'a chain flushed in a sandbox',
      sandbox,
      ['nft', 'flush', 'chain', 'ip', 'portolan_dns', 'to_resolver'],
    ],
  ]
  for (const [what, netns, [program = '', ...args]] of damages) {
    await t.test(what, async t => {
      const { status } = runInNetns(netns, () => spawnSync(program, args))
      t.equal(status, 0, 'the damage is done')
      const gateway = (await host.container('mend-web-1')).endpoints[0]?.ipv4 ?? ''
      t.ok(await becomes(() => isWhole(host.netns, bridge, rules, gateway)), 'links and rules')
      t.ok(await becomes(hasVips), 'virtual addresses')
      t.strictSame(await findLastingFaults(host), [])
      t.equal((await asker.ask('tasks.web'))?.data.length, 2)
    })
  }
})

t.test('changes of our own are not followed by a look at everything', asRoot, async t => {
  const host = await openHost(t)
  await host.run(
    'up',
    '-d',
    '-f',
    host.writeFile('mend.yaml', file.replace('scale: 2', 'scale: 30')),
  )
  const pid = host.daemonPid ?? 0
  await new Promise(resolve => setTimeout(resolve, 500))
  const before = cpuMilliseconds(pid)
  await new Promise(resolve => setTimeout(resolve, 1_000))
  t.ok(cpuMilliseconds(pid) - before < 200, 'a daemon with nothing to do does nothing')
  t.strictSame(await findFaults(host), [])
})

/** The bridge is up with its address, every port is on it, and the rules are as they were. */
function isWhole(host: Netns, bridge: string, rules: string, member: string): boolean {
  const link = run(host, 'ip', '-o', 'link', 'show', bridge)
  const address = run(host, 'ip', '-o', '-4', 'address', 'show', bridge)
  const ports = run(host, 'ip', '-o', 'link', 'show', 'master', bridge).trim().split('\n')
  const subnet = member.split('.').slice(0, 2).join('.')
  return (
    /[<,]UP[,>]/.test(link) &&
    address.includes(` ${subnet}.`) &&
    ports.length === 3 &&
    run(host, 'nft', 'list', 'ruleset') === rules
  )
}

async function becomes(isSo: () => boolean): Promise<boolean> {
  for (let i = 0; i < 250; i++) {
    if (isSo()) return true
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  return false
}

function run(netns: Netns, program: string, ...args: readonly string[]): string {
  const { stdout, stderr, status } = runInNetns(netns, () =>
    spawnSync(program, args, { encoding: 'utf8' }),
  )
  // A bridge on its way is looked up and not there.
  if (status !== 0 && !/does not exist|Cannot find/.test(stderr)) throw new Error(stderr)
  return stdout
}
