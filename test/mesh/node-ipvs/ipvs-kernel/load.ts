/** Many requests, small buffers, big tables: nothing is lost, hung or left behind. */
import {
  Ipvs,
  IpvsError,
  type Destination,
  type Operation,
  type OperationResult,
  type Service,
} from 'node-ipvs'
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { Worker } from 'node:worker_threads'
import { countDescriptors, openClient, openNamespace, saveThere } from '../lab.js'

// An emulated machine may run this, many times slower.
t.setTimeout(240_000)

const web: Service = {
  kind: 'address',
  protocol: 'tcp',
  address: '10.0.0.1',
  port: 80,
  scheduler: 'rr',
}

/** `count` destinations of different addresses, weights and ports. */
function destinations(count: number): readonly Destination[] {
  return Array.from({ length: count }, (_, i) => ({
    address: `10.1.${i >> 8}.${i & 255}`,
    port: 1000 + i,
    weight: i,
    forwarding: { kind: 'masquerade' },
  }))
}

const creations = (count: number): readonly Operation[] =>
  destinations(count).map(destination => ({
    op: 'create-destination',
    service: web,
    destination,
  }))

const kinds = (results: readonly OperationResult[]): ReadonlySet<string> =>
  new Set(results.map(result => (result.kind === 'done' ? 'done' : result.error.code)))

const byPort = (a: Destination, b: Destination): number => a.port - b.port

const listed = (ipvs: Ipvs): readonly Destination[] =>
  ipvs
    .listDestinations(web)
    .map(({ destination }) => destination)
    .sort(byPort)

for (const [name, options] of [
  ['the default buffer', {}],
  ['the least buffer', { receiveBufferBytes: 0 }],
] as const) {
  t.test(`1,000 requests at once, with ${name}`, async t => {
    const { ipvs, netns } = openClient(t, options)
    ipvs.createService(web)
    t.strictSame(kinds(ipvs.batch(creations(1000))), new Set(['done']))
    t.ok(isDeepStrictEqual(listed(ipvs), destinations(1000)), 'the dump is exact')
    t.equal(saveThere(netns).length, 1001, 'and ipvsadm counts the same')
    t.strictSame(kinds(ipvs.batch(creations(1000))), new Set(['EEXIST']), 'each has its refusal')
    const updates = destinations(1000).map((destination): Operation => {
      return { op: 'ensure-destination', service: web, destination: { ...destination, weight: 7 } }
    })
    t.strictSame(kinds(ipvs.batch(updates)), new Set(['done']))
    t.strictSame(new Set(listed(ipvs).map(({ weight }) => weight)), new Set([7]))
    t.strictSame(ipvs.getTimeouts().udpSeconds, 300, 'single questions go on')
  })
}

t.test('a batch tells each operation its own outcome, in order', async t => {
  const { ipvs } = openClient(t)
  const [one, two] = destinations(2)
  if (one === undefined || two === undefined) throw new Error('there are two')
  const results = ipvs.batch([
    { op: 'create-destination', service: web, destination: one },
    { op: 'create-service', service: web },
    { op: 'create-service', service: web },
    { op: 'create-service', service: { ...web, port: -1 } },
    { op: 'create-destination', service: web, destination: one },
    { op: 'ensure-destination', service: web, destination: { ...one, weight: 9 } },
    { op: 'update-destination', service: web, destination: two },
    { op: 'ensure-service', service: { ...web, scheduler: 'nosuch' } },
    { op: 'ensure-service', service: { ...web, scheduler: 'wrr' } },
    { op: 'zero', service: web },
    { op: 'set-timeouts', timeouts: { udpSeconds: 42 } },
    { op: 'remove-destination', service: web, destination: two },
  ])
  t.strictSame(
    results.map(result => (result.kind === 'done' ? 'done' : result.error.code)),
    [
      ...['ESRCH', 'done', 'EEXIST', 'IPVS_BAD_INPUT', 'done', 'done', 'ENOENT', 'ENOENT', 'done'],
      ...['done', 'done', 'ENOENT'],
    ],
  )
  t.strictSame(listed(ipvs), [{ ...one, weight: 9 }])
  t.equal(ipvs.getService(web).service.scheduler, 'wrr')
  t.equal(ipvs.getTimeouts().udpSeconds, 42)
  t.strictSame(ipvs.batch([]), [])
})

t.test('1,000 services are listed exactly', async t => {
  const { ipvs } = openClient(t)
  const services = Array.from({ length: 1000 }, (_, i): Service => ({ ...web, port: 1 + i }))
  const operations = services.map((service): Operation => ({ op: 'create-service', service }))
  t.strictSame(kinds(ipvs.batch(operations)), new Set(['done']))
  const portOf = (service: Service): number => (service.kind === 'address' ? service.port : 0)
  const found = ipvs
    .listServices()
    .map(({ service }) => service)
    .sort((a, b) => portOf(a) - portOf(b))
  t.ok(isDeepStrictEqual(found, services))
})

t.test('threads that read and write at once keep their own answers', async t => {
  const { ipvs } = openClient(t)
  ipvs.createService(web)
  ipvs.batch(creations(500))
  const home = Ipvs.open()
  t.teardown(() => {
    home.removeService(web)
    home.close()
  })
  home.ensureService(web)
  const program = `
    import('node-ipvs').then(({ Ipvs }) => {
      const { workerData, parentPort } = require('node:worker_threads')
      const ipvs = Ipvs.open({ receiveBufferBytes: 0 })
      const service = ${JSON.stringify(web)}
      const own = (i, weight) => ({
        address: '10.2.' + workerData + '.' + i, port: 80, weight, forwarding: { kind: 'masquerade' },
      })
      let wrong = 0
      for (let round = 0; round < 5; round++) {
        for (let i = 0; i < 20; i++) ipvs.ensureDestination(service, own(i, round))
        const mine = ipvs.listDestinations(service)
          .filter(({ destination }) => destination.address.startsWith('10.2.' + workerData + '.'))
        if (mine.some(({ destination }) => destination.weight !== round)) wrong++
      }
      ipvs.close()
      parentPort.postMessage(wrong)
    })`
  const results = await Promise.all(
    [1, 2, 3].map(
      workerData =>
        new Promise((resolve, reject) => {
          const worker = new Worker(program, { eval: true, workerData })
          worker.once('message', resolve).once('error', reject)
        }),
    ),
  )
  t.strictSame(results, [0, 0, 0])
  t.equal(home.listDestinations(web).length, 60)
  t.equal(ipvs.listDestinations(web).length, 500, 'the other namespace was not touched')
})

t.test('two clients dump alternately while both write', async t => {
  const { ipvs, netns } = openClient(t)
  const other = Ipvs.open({ netns: netns.fd })
  t.teardown(() => other.close())
  ipvs.createService(web)
  ipvs.batch(creations(300))
  for (let round = 0; round < 10; round++) {
    const weight = 1000 + round
    const results = other.batch(
      destinations(300).map((destination): Operation => {
        return { op: 'update-destination', service: web, destination: { ...destination, weight } }
      }),
    )
    t.strictSame(kinds(results), new Set(['done']))
    for (const client of [ipvs, other]) {
      t.strictSame(new Set(listed(client).map(one => one.weight)), new Set([weight]))
      t.equal(listed(client).length, 300)
    }
  }
})

t.test('1,000 clients leave no descriptor', async t => {
  const netns = openNamespace(t)
  const before = countDescriptors()
  for (let i = 0; i < 1000; i++) Ipvs.open({ netns: netns.fd }).close()
  for (let i = 0; i < 100; i++) Ipvs.open({ netns: '/proc/self/ns/net' }).close()
  t.equal(countDescriptors(), before)
})

t.test('after close() every call is IPVS_CLOSED', async t => {
  const { ipvs } = openClient(t)
  ipvs.close()
  ipvs.close()
  t.throws(() => ipvs.listServices(), { name: 'IpvsError', code: 'IPVS_CLOSED' })
  t.throws(() => ipvs.flush(), IpvsError)
})
