import t from 'tap'
import { Catalog } from '../../src/catalog/catalog.js'
import type { Container, ContainerStatus } from '../../src/catalog/container.js'
import type { Dependency } from '../../src/catalog/service.js'
import { startProject } from '../../src/daemon/start-order.js'
import { container, project, running, service } from '../catalog/records.js'

const [db, web] = [replica('db'), replica('web')]

function replica(name: string): Container {
  return container(`shop-${name}-1`, { project: 'shop', service: name })
}

/** `web` depends on `db`; `begun` lists what was started. */
function begin(condition: Dependency['condition'], more: Partial<Dependency> = {}) {
  const catalog = new Catalog()
  const abort = new AbortController()
  catalog.apply([db, web].map(one => ({ op: 'put-container', container: one })))
  const observe = (status: Partial<ContainerStatus>): void => {
    catalog.apply([{ op: 'put-status', status: running(db, status) }])
  }
  observe({ state: 'created', health: 'starting' })
  const begun: string[] = []
  const dependsOn = [{ service: 'db', condition, isRequired: true, ...more }]
  const failures = startProject({
    spec: project('shop', [service('db'), service('web', { dependsOn })]),
    catalog,
    start: async one => void begun.push(one.service ?? ''),
    timeoutMs: 60_000,
    signal: abort.signal,
  })
  return { begun, failures, observe, abort }
}

/** Lets what is due happen. */
function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

t.test('startProject() starts a service when the one it depends on was started', async t => {
  const { begun, failures } = begin('service_started')
  t.strictSame(await failures, [])
  t.strictSame(begun, ['db', 'web'])
})

t.test('startProject() waits for healthy', async t => {
  const { begun, failures, observe } = begin('service_healthy')
  observe({ state: 'running', health: 'starting' })
  await turn()
  t.strictSame(begun, ['db'])
  observe({ state: 'running', health: 'healthy', hasBeenHealthy: true })
  t.strictSame(await failures, [])
  t.strictSame(begun, ['db', 'web'])
})

t.test('startProject() waits for an end, and a good one', async t => {
  const good = begin('service_completed_successfully')
  await turn()
  good.observe({ state: 'exited', exitCode: 0 })
  t.strictSame(await good.failures, [])
  t.strictSame(good.begun, ['db', 'web'])
  const bad = begin('service_completed_successfully')
  await turn()
  bad.observe({ state: 'exited', exitCode: 2 })
  t.match(await bad.failures, [/^Service "web" was not started: "db" ended with exit code 2$/])
  t.strictSame(bad.begun, ['db'])
})

t.test('startProject() gives up on unhealthy, on an end, and on what cannot start', async t => {
  const rows: readonly [Partial<ContainerStatus>, RegExp][] = [
    [{ state: 'running', health: 'unhealthy' }, /unhealthy/],
    [{ state: 'exited', exitCode: 0 }, /exited/],
    [{ state: 'exited', failure: 'no such file' }, /could not be started/],
  ]
  for (const [status, wanted] of rows) {
    const { begun, failures, observe } = begin('service_healthy')
    await turn()
    observe(status)
    t.match(await failures, [wanted])
    t.strictSame(begun, ['db'])
  }
})

t.test('startProject() starts a service whose optional dependency failed', async t => {
  const { begun, failures, observe } = begin('service_healthy', { isRequired: false })
  await turn()
  observe({ state: 'running', health: 'unhealthy' })
  t.strictSame(await failures, [])
  t.strictSame(begun, ['db', 'web'])
})

t.test('startProject() ends its waits when another command comes', async t => {
  const { failures, abort } = begin('service_healthy')
  await turn()
  abort.abort()
  t.match(await failures, [/another command came$/])
})
