/** A second `up` of the same file changes nothing; of a changed file, only the difference is made. */

import t, { type Test } from 'tap'
import type { ContainerView, NetworkView } from '../../src/api/contract.js'
import { asRoot, openHost, type Host } from '../lab/host.js'
import { describeKernel, findFaults } from './truth.js'

const file = {
  web: '{ command: [sleep, infinity], scale: 2, networks: [front], stop_grace_period: 0s }',
  api: '{ command: [sleep, infinity], networks: [front, back], stop_grace_period: 0s }',
  db: '{ command: [sleep, infinity], networks: [back], stop_grace_period: 0s }',
  front: '{}',
  back: '{ internal: true }',
}
type File = Partial<typeof file>

function compose({ front, back, ...services }: File): string {
  const list = Object.entries(services).map(([name, text]) => `  ${name}: ${text}`)
  const networks = Object.entries({ front, back }).flatMap(([name, text]) =>
    text === undefined ? [] : [`  ${name}: ${text}`],
  )
  return `name: diff\nservices:\n${list.join('\n')}\nnetworks:\n${networks.join('\n')}\n`
}

async function up(host: Host, of: File, ...args: readonly string[]): Promise<string> {
  return host.run('up', '-d', ...args, '-f', host.writeFile('diff.yaml', compose(of)))
}

/** Pid and first address by container. */
async function pids(host: Host): Promise<Record<string, string>> {
  const all = await host.api.call<readonly ContainerView[]>('GET', '/v1/containers')
  return Object.fromEntries(
    all.map(({ name, pid, endpoints }) => [name, `${pid} ${endpoints[0]?.ipv4}`]),
  )
}

function without(all: Record<string, string>, prefix: string): Record<string, string> {
  return Object.fromEntries(Object.entries(all).filter(([name]) => !name.startsWith(prefix)))
}

t.test('up applies the difference', asRoot, async t => {
  const host = await openHost(t)
  await up(host, file)
  const first = await pids(host)

  await t.test('the same file: no process, no address, nothing in the kernel', async t => {
    const before = describeKernel(host)
    t.match(await up(host, file), /nothing to change, 4 containers running/)
    t.strictSame(await pids(host), first)
    t.equal(describeKernel(host), before)
  })

  await t.test('the same file with its keys in another order', async t => {
    const turned = Object.fromEntries(Object.entries(file).reverse()) as File
    t.match(await up(host, turned), /nothing to change/)
    t.strictSame(await pids(host), first)
  })

  await t.test('a changed command: that service alone, at its addresses', async t => {
    await up(host, { ...file, web: file.web.replace('infinity', '90000') })
    const next = await pids(host)
    t.strictSame(without(next, 'diff-web'), without(first, 'diff-web'))
    for (const name of ['diff-web-1', 'diff-web-2']) {
      t.not(next[name], first[name])
      t.equal(next[name]?.split(' ')[1], first[name]?.split(' ')[1])
    }
    await assertTrue(t, host)
  })

  await t.test('more and fewer replicas: the first ones stay', async t => {
    const before = await pids(host)
    const web = file.web.replace('infinity', '90000')
    await up(host, { ...file, web: web.replace('scale: 2', 'scale: 4') })
    const more = await pids(host)
    t.equal(Object.keys(more).length, 6)
    t.match(more, before)
    await up(host, { ...file, web })
    t.strictSame(await pids(host), before)
    await assertTrue(t, host)
  })

  await t.test('a service less is an orphan until it is told to go', async t => {
    const before = await pids(host)
    const { db: _db, ...rest } = { ...file, web: file.web.replace('infinity', '90000') }
    const { stderr, code } = await host.cli(
      ...['up', '-d', '-f', host.writeFile('diff.yaml', compose(rest))],
    )
    t.equal(code, 0)
    t.match(stderr, /^warning: diff-db-1[^\n]*--remove-orphans[^\n]*\n$/)
    t.strictSame(await pids(host), before)
    await up(host, rest, '--remove-orphans')
    t.strictSame(await pids(host), without(before, 'diff-db'))
    await assertTrue(t, host)
  })

  await t.test('a changed network: made anew with those on it, and only those', async t => {
    const web = file.web.replace('infinity', '90000')
    const before = await pids(host)
    await up(host, { web, api: file.api, front: file.front, back: '{ enable_ipv6: true }' })
    const next = await pids(host)
    t.strictSame(without(next, 'diff-api'), without(before, 'diff-api'))
    t.not(next['diff-api-1'], before['diff-api-1'])
    const networks = await host.api.call<readonly NetworkView[]>('GET', '/v1/networks')
    const back = networks.find(({ name }) => name === 'diff_back')
    t.match(back, { isInternal: false, subnets: [{}, {}] })
    await assertTrue(t, host)
  })

  await t.test('a network less goes', async t => {
    await up(host, { web: file.web, front: file.front }, '--remove-orphans')
    const networks = await host.api.call<readonly NetworkView[]>('GET', '/v1/networks')
    t.notOk(networks.some(({ name }) => name === 'diff_back'))
    await assertTrue(t, host)
  })
})

t.test(
  'a replica that was killed comes back with the next up, and no other changes',
  asRoot,
  async t => {
    const host = await openHost(t)
    await up(host, file)
    const before = await pids(host)
    process.kill((await host.container('diff-web-1')).pid ?? 0, 'SIGKILL')
    await up(host, file)
    const after = await pids(host)
    t.strictSame(without(after, 'diff-web-1'), without(before, 'diff-web-1'))
    t.equal((await host.container('diff-web-1')).state, 'running')
    await assertTrue(t, host)
  },
)

async function assertTrue(t: Test, host: Host): Promise<void> {
  t.strictSame(await findFaults(host), [])
}
