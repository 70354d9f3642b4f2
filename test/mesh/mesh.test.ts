/** The mesh over a real dataplane: what is changed, in which order, and what holds after a failure. */

import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import t from 'tap'
import { Mesh, changedKeys, stateOf } from '../../mesh/mesh.js'
import { UserspaceDataplane } from '../../mesh/dataplane/userspace/userspace.js'
import { validateState } from '../../mesh/validate.js'
import {
  askTcp,
  destinationOf,
  freePort,
  named,
  serveTcp,
  serviceOf,
} from './dataplane/userspace/fixture.js'
import type { MeshState, VirtualService } from '../../mesh/state.js'
import type { Test } from 'tap'

/** The real thing, with a journal, and failures on demand. */
class JournalDataplane extends UserspaceDataplane {
  readonly journal: string[] = []
  failure: Error | undefined
  tell: () => void = () => undefined

  override async apply(desired: MeshState, changed?: ReadonlySet<string>): Promise<void> {
    this.journal.push(`apply ${[...(changed ?? [])].join(' ')}`)
    const failure = this.failure
    this.failure = undefined
    if (failure !== undefined) throw failure
    await super.apply(desired, changed)
  }

  override reconcile(desired: MeshState): Promise<number> {
    this.journal.push('reconcile')
    return super.reconcile(desired)
  }

  override onTampered(body: () => void): void {
    this.tell = body
  }
}

async function openMesh(t: Test, services: VirtualService[]) {
  const dataplane = new JournalDataplane()
  const mesh = await Mesh.open({ dataplane, services })
  t.teardown(() => mesh.remove())
  return { mesh, dataplane }
}

async function webOf(t: Test, key: string) {
  const destinations = [destinationOf('a', await serveTcp(t, named(key)))]
  return serviceOf({
    port: await freePort(),
    key,
    name: key,
    mark: key.charCodeAt(0),
    destinations,
  })
}

const portOf = (service: VirtualService): number => service.ports[0]?.first ?? 0

t.test('only what differs is applied, in the order it was asked for', async t => {
  const [a, b] = [await webOf(t, 'a'), await webOf(t, 'b')]
  const { mesh, dataplane } = await openMesh(t, [a])
  t.strictSame(dataplane.journal, ['reconcile'], 'what an earlier process left is looked for')
  await Promise.all([mesh.update([a, b]), mesh.update([b]), mesh.update([structuredClone(b)])])
  t.strictSame(dataplane.journal.slice(1), ['apply b', 'apply a'])
  t.equal(await askTcp(portOf(b)), 'b')
  t.equal(await askTcp(portOf(a)), 'ECONNREFUSED')
  t.match(await mesh.stats(), [{ serviceKey: 'b' }])
  t.match(await mesh.trace('b'), [{ where: /^socket 0\.0\.0\.0/ }])
  t.equal(await mesh.trace('a'), undefined)
})

t.test('a port that is taken fails the change, and what was before holds', async t => {
  const [a, b] = [await webOf(t, 'a'), await webOf(t, 'b')]
  const server = createServer().listen(portOf(b), '127.0.0.1')
  await once(server, 'listening')
  const { mesh } = await openMesh(t, [a])
  await t.rejects(mesh.update([a, b]), { code: 'MESH_PORT_IN_USE' })
  t.strictSame([...mesh.state.keys()], ['a'])
  t.equal(await askTcp(portOf(a)), 'a')
  server.close()
  await once(server, 'close')
  await mesh.update([a, b])
  t.equal(await askTcp(portOf(b)), 'b')
})

t.test('after the kernel refused a change, its own word counts', async t => {
  const a = await webOf(t, 'a')
  const { mesh, dataplane } = await openMesh(t, [])
  dataplane.failure = new Error('the table is gone')
  await mesh.update([a])
  t.strictSame(dataplane.journal, ['reconcile', 'apply a', 'reconcile'])
  t.equal(await askTcp(portOf(a)), 'a')
  t.equal(await mesh.reconcile(), 0)
})

t.test('somebody else’s change is mended, once for many tellings', async t => {
  const { mesh, dataplane } = await openMesh(t, [])
  for (let i = 0; i < 10; i++) dataplane.tell()
  await mesh.update([])
  t.strictSame(dataplane.journal, ['reconcile', 'reconcile'])
})

t.test('what no dataplane could do is refused before anything changes', async t => {
  const a = await webOf(t, 'a')
  const { mesh, dataplane } = await openMesh(t, [a])
  const sctp = serviceOf({ port: 80, key: 'b', ports: [{ protocol: 'sctp', first: 80, last: 80 }] })
  await t.rejects(mesh.update([sctp]), { code: 'MESH_UNSUPPORTED' })
  await t.rejects(mesh.update([a, a]), { code: 'MESH_BAD_SERVICE', message: /both have key "a"/ })
  t.strictSame(dataplane.journal, ['reconcile'])
  t.equal(await askTcp(portOf(a)), 'a')
})

t.test('validateState() finds contradictions', async t => {
  const web = serviceOf({ port: 80, destinations: [destinationOf('a', 80)] })
  const cases: readonly (readonly [VirtualService[], RegExp])[] = [
    [[{ ...web, mark: 0 }], /mark 0/],
    [[web, { ...web, key: 'b', name: 'b' }], /mark 1, which is that of "shop\/web"/],
    [[{ ...web, destinations: [destinationOf('a', 0)] }], /port 0 for "a"/],
    [[{ ...web, destinations: [destinationOf('a', 1, { weight: 0 })] }], /weight 0/],
    [[{ ...web, destinations: [destinationOf('a', 1), destinationOf('a', 2)] }], /twice/],
    [[{ ...web, destinations: [destinationOf('a', 1, { ipv4: '::1' })] }], /"::1" for IPv4/],
    [[{ ...web, ports: [{ protocol: 'tcp', first: 9, last: 8 }] }], /ports 9 to 8/],
    [[{ ...web, ports: [{ protocol: 'tcp', first: 9, last: 9, address: 'eth0' }] }], /"eth0"/],
    [[{ ...web, affinity: { kind: 'client-ip', timeoutSeconds: 0 } }], /affinity of 0 s/],
  ]
  for (const [services, message] of cases) {
    t.throws(() => validateState(stateOf(services)), { code: 'MESH_BAD_SERVICE', message })
  }
  t.doesNotThrow(() => validateState(stateOf([web])))
})

t.test('validateState() compares the mark of a change with those that were there', async t => {
  const web = serviceOf({ port: 80, key: 'web' })
  const api = { ...serviceOf({ port: 81, key: 'api' }), mark: web.mark }
  const state = stateOf([web])
  const check = (services: Iterable<[string, VirtualService]>, changed: readonly string[]): void =>
    validateState(new Map(services), { state, changed })
  const message = new RegExp(`mark ${web.mark}, which is that of "${web.name}"`)
  t.throws(() => check([...state, ['api', api]], ['api']), { code: 'MESH_BAD_SERVICE', message })
  const renamed = { ...web, name: 'other' }
  t.throws(
    () =>
      check(
        [
          ['web', renamed],
          ['api', api],
        ],
        ['web', 'api'],
      ),
    { message: /mark/ },
  )
  t.throws(() => check([...state, ['other', api]], ['other']), { message: /listed as "other"/ })
  t.doesNotThrow(() => check([['api', api]], ['web', 'api']), 'a mark that is free again')
})

t.test('update() takes a state as it is', async t => {
  const a = await webOf(t, 'a')
  const { mesh } = await openMesh(t, [])
  const state = stateOf([a])
  await mesh.update(state)
  t.equal(mesh.state, state)
  t.equal(await askTcp(portOf(a)), 'a')
})

t.test('changedKeys() compares by content', async t => {
  const [a, b] = [serviceOf({ port: 1, key: 'a' }), serviceOf({ port: 2, key: 'b' })]
  const before = stateOf([a, b])
  t.strictSame([...changedKeys(before, stateOf([structuredClone(a)]))], ['b'])
  t.strictSame([...changedKeys(before, stateOf([a, { ...b, mark: 7 }]))], ['b'])
  t.strictSame([...changedKeys(before, before)], [])
})

t.test('the program of mesh/README.md balances, as any user would run it', async t => {
  const readme = readFileSync(new URL('../../../mesh/README.md', import.meta.url), 'utf8')
  const program = /```js\n([\s\S]*?)```/.exec(readme)?.[1]
  t.ok(program)
  const root = new URL('../../..', import.meta.url)
  const node = [process.execPath, '--input-type=module', '-e', program ?? '']
  // It claims to need no rights.
  const child = spawn('setpriv', ['--bounding-set=-all', '--inh-caps=-all', ...node], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 20_000,
  })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  const [code] = (await once(child, 'exit')) as [number | null]
  t.equal(code, 0)
  t.equal(output, 'one two one two\n')
})
