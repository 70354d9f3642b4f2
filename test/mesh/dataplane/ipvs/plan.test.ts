import t from 'tap'
import type { DestinationStatus, Operation } from 'node-ipvs'
import { composeBalances, type Balance } from '../../../../mesh/dataplane/ipvs/balance.js'
import { planBalance, planSweep } from '../../../../mesh/dataplane/ipvs/plan.js'
import type { Protocol } from '../../../../mesh/state.js'
import { destination, service } from './services.js'

/** Of IPv4, with destinations by the end of their addresses and their weights. */
function balance(
  weights: Readonly<Record<number, number>>,
  protocol: Protocol = 'tcp',
  scheduler: 'rr' | 'lc' = 'rr',
): Balance {
  const wanted = service({
    scheduler,
    ports: [{ protocol, first: 8080, last: 8080 }],
    // Any, so that there is a service where there are no others.
    destinations: [destination(99), ...Object.keys(weights).map(n => destination(Number(n)))],
  })
  const [first] = composeBalances(wanted).values()
  if (first === undefined) throw new Error('no service')
  const destinations = Object.entries(weights).map(([n, weight]) => {
    const address = `10.99.0.${n}`
    return [address, { address, port: 0, weight, forwarding: { kind: 'masquerade' } }] as const
  })
  return { service: first.service, destinations: new Map(destinations) }
}

function describe(operations: readonly Operation[]): string[] {
  return operations.map(one =>
    [
      one.op,
      'destination' in one ? one.destination.address : '',
      'destination' in one && 'weight' in one.destination ? one.destination.weight : '',
    ]
      .join(' ')
      .trim(),
  )
}

function status(held: Balance, address: string, active: number, inactive = 0): DestinationStatus {
  const found = held.destinations.get(address)
  if (found === undefined) throw new Error('no destination')
  const none = { connections: 0n, incomingPackets: 0n, outgoingPackets: 0n }
  const bytes = { incomingBytes: 0n, outgoingBytes: 0n, connectionsPerSecond: 0n }
  const rates = {
    ...{ incomingPacketsPerSecond: 0n, outgoingPacketsPerSecond: 0n },
    ...{ incomingBytesPerSecond: 0n, outgoingBytesPerSecond: 0n },
  }
  return {
    ...{ destination: found, activeConnections: active, inactiveConnections: inactive },
    ...{ persistentConnections: 0, stats: { ...none, ...bytes, ...rates } },
  }
}

t.test('planBalance() finds nothing where all is as wanted', t => {
  const plan = planBalance(balance({ 3: 1, 4: 2 }), balance({ 3: 1, 4: 2 }))
  t.match(plan, { come: [], go: [], differences: 0 })
  t.end()
})

t.test('planBalance() makes a service before its destinations', t => {
  const plan = planBalance(undefined, balance({ 3: 1 }))
  t.strictSame(describe(plan.come), ['ensure-service', 'ensure-destination 10.99.0.3 1'])
  t.equal(plan.differences, 2)
  t.end()
})

t.test('planBalance() changes a scheduler in place', t => {
  const plan = planBalance(balance({ 3: 1 }), balance({ 3: 1 }, 'tcp', 'lc'))
  t.strictSame(describe(plan.come), ['ensure-service'])
  t.strictSame(plan.go, [])
  t.end()
})

t.test('planBalance() lets a destination of connections drain, and counts it once', t => {
  const first = planBalance(balance({ 3: 1, 4: 1 }), balance({ 3: 1 }))
  t.strictSame(describe(first.go), ['update-destination 10.99.0.4 0'])
  t.equal(first.differences, 1)
  t.match(planBalance(first.after, balance({ 3: 1 })), { come: [], go: [], differences: 0 })
  t.end()
})

t.test('planBalance() gives one that comes back its weight', t => {
  const plan = planBalance(balance({ 3: 1, 4: 0 }), balance({ 3: 1, 4: 5 }))
  t.strictSame(describe(plan.come), ['ensure-destination 10.99.0.4 5'])
  t.strictSame(plan.go, [])
  t.end()
})

t.test('planBalance() cuts a destination of datagrams at once', t => {
  const some = planBalance(balance({ 3: 1, 4: 1 }, 'udp'), balance({ 3: 1 }, 'udp'))
  t.strictSame(describe(some.go), ['remove-destination 10.99.0.4'])
  t.strictSame(some.cut, ['10.99.0.4'])
  const all = planBalance(balance({ 3: 1 }, 'udp'), undefined)
  t.strictSame(describe(all.go), ['remove-destination 10.99.0.3', 'remove-service'])
  t.equal(all.after, undefined)
  t.end()
})

t.test('planBalance() keeps a service that goes until its connections ended', t => {
  const { go, after } = planBalance(balance({ 3: 1 }), undefined)
  t.strictSame(describe(go), ['update-destination 10.99.0.3 0'])
  if (after === undefined) throw new Error('the service went')
  const living = planSweep(after, [status(after, '10.99.0.3', 0, 1)])
  t.strictSame(living.go, [])
  const ended = planSweep(after, [status(after, '10.99.0.3', 0)])
  t.strictSame(describe(ended.go), ['remove-service'])
  t.equal(ended.after, undefined)
  t.end()
})

t.test('planSweep() lets go of who drained and of nobody else', t => {
  const held = balance({ 3: 1, 4: 0, 5: 0 })
  const observed = [
    status(held, '10.99.0.3', 0),
    status(held, '10.99.0.4', 2),
    status(held, '10.99.0.5', 0),
  ]
  const { go, after } = planSweep(held, observed)
  t.strictSame(describe(go), ['remove-destination 10.99.0.5'])
  t.strictSame([...(after?.destinations.keys() ?? [])], ['10.99.0.3', '10.99.0.4'])
  t.end()
})
