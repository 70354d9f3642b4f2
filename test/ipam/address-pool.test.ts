import fc from 'fast-check'
import t from 'tap'
import { AddressPool } from '../../src/ipam/index.js'
import type { AddressPoolOptions } from '../../src/ipam/index.js'

/** A network "frontend" whose gateway is the first address. */
function poolOf(options: Partial<AddressPoolOptions> = {}): AddressPool {
  return new AddressPool({
    network: 'frontend',
    subnet: '10.0.1.0/24',
    gateway: '10.0.1.1',
    ...options,
  })
}

function leaseAll(pool: AddressPool): readonly string[] {
  return Array.from({ length: Number(pool.capacity) }, (_, i) => pool.lease(`c${i}`))
}

t.test('lease() counts up after the gateway, with the prefix length', async t => {
  const pool = poolOf()
  t.strictSame([pool.lease('web'), pool.lease('api')], ['10.0.1.2/24', '10.0.1.3/24'])
  t.equal(pool.ownerOf('10.0.1.2'), 'web')
})

t.test('lease() gives every address once, and never the network its own', async t => {
  const cases: readonly (readonly [string, Partial<AddressPoolOptions>, readonly string[]])[] = [
    ['/29', { subnet: '10.0.1.0/29' }, ['.2', '.3', '.4', '.5', '.6']],
    ['/30', { subnet: '10.0.1.0/30' }, ['.2']],
    ['/31', { subnet: '10.0.1.0/31', gateway: '10.0.1.0' }, ['.1']],
    ['/32', { subnet: '10.0.1.1/32' }, []],
    [
      'aux',
      { subnet: '10.0.1.0/29', auxAddresses: { router: '10.0.1.4' } },
      ['.2', '.3', '.5', '.6'],
    ],
    ['range', { ipRange: '10.0.1.128/30' }, ['.128', '.129', '.130', '.131']],
    ['range at the end', { ipRange: '10.0.1.252/30' }, ['.252', '.253', '.254']],
    ['range with the gateway', { ipRange: '10.0.1.0/30' }, ['.2', '.3']],
  ]
  for (const [name, options, tails] of cases) {
    const leased = leaseAll(poolOf(options)).map(text => text.slice('10.0.1'.length).split('/')[0])
    t.strictSame(leased, tails, name)
  }
})

t.test('lease() of IPv6 leaves out the subnet-router anycast address', async t => {
  const pool = poolOf({ subnet: 'fd00::/126', gateway: 'fd00::1' })
  t.strictSame(leaseAll(pool), ['fd00::2/126', 'fd00::3/126'])
})

t.test('lease() says what is full and what to do', async t => {
  const pool = poolOf()
  leaseAll(pool)
  t.throws(() => pool.lease('late'), {
    code: 'IPAM_POOL_EXHAUSTED',
    message:
      'Cannot lease an address on network "frontend": all 253 addresses of 10.0.1.0/24 are leased; ' +
      'add a subnet or remove stopped containers',
  })
})

t.test('lease() gives a released address again only when no other is free', async t => {
  const pool = poolOf({ subnet: '10.0.1.0/29' })
  const [first = ''] = leaseAll(pool)
  pool.release('10.0.1.5')
  pool.release(first)
  t.strictSame([pool.lease('x'), pool.lease('y')], ['10.0.1.5/29', '10.0.1.2/29'])
})

t.test('lease() passes over a static address that was just released', async t => {
  const pool = poolOf({ subnet: '10.0.1.0/29' })
  pool.release(pool.leaseStatic('10.0.1.2', 'web'))
  t.equal(pool.lease('api'), '10.0.1.3/29')
})

t.test('leaseStatic() takes any address of the subnet, also outside the range', async t => {
  const pool = poolOf({ ipRange: '10.0.1.128/25' })
  t.equal(pool.leaseStatic('10.0.1.9', 'web'), '10.0.1.9/24')
  t.equal(pool.leaseStatic('10.0.1.200/24', 'api'), '10.0.1.200/24')
  t.equal(pool.capacity, 127n)
  t.equal(leaseAll(poolOf({ ipRange: '10.0.1.128/25' })).length, 127)
})

t.test('leaseStatic() refuses, and names who has the address', async t => {
  const pool = poolOf({ auxAddresses: { router: '10.0.1.4' } })
  pool.leaseStatic('10.0.1.5', 'shop-web-1')
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['10.0.1.5', 'IPAM_ADDRESS_IN_USE', /10\.0\.1\.5 on network "frontend": "shop-web-1" has it/],
    ['10.0.1.1', 'IPAM_ADDRESS_IN_USE', /it is the gateway/],
    ['10.0.1.4', 'IPAM_ADDRESS_IN_USE', /it is the auxiliary address "router"/],
    ['10.0.1.0', 'IPAM_ADDRESS_IN_USE', /it is the network address/],
    ['10.0.1.255', 'IPAM_ADDRESS_IN_USE', /it is the broadcast address/],
    ['10.0.2.5', 'IPAM_ADDRESS_OUTSIDE', /it is not in subnet 10\.0\.1\.0\/24/],
    ['fd00::5', 'IPAM_ADDRESS_OUTSIDE', /it is not in subnet/],
    ['web', 'IPAM_BAD_ADDRESS', /it is not an address/],
  ]
  for (const [address, code, message] of cases) {
    t.throws(() => pool.leaseStatic(address, 'late'), { code, message }, address)
  }
  t.equal(pool.leased, 1, 'nothing was leased')
})

t.test('release() of what is not leased changes nothing', async t => {
  const pool = poolOf({ subnet: '10.0.1.0/30' })
  pool.release('10.0.1.1')
  pool.release('10.0.1.2')
  pool.release('10.9.9.9')
  t.strictSame(leaseAll(pool), ['10.0.1.2/30'])
  t.throws(() => pool.lease('late'), { code: 'IPAM_POOL_EXHAUSTED' })
})

t.test('AddressPool takes over known leases, and passes over those of other subnets', async t => {
  const pool = poolOf({
    leases: [
      { address: '10.0.1.2/24', owner: 'web' },
      { address: '10.0.2.2/24', owner: 'web' },
      { address: 'fd00::2/64', owner: 'web' },
    ],
  })
  t.equal(pool.leased, 1)
  t.equal(pool.lease('api'), '10.0.1.3/24')
})

t.test('AddressPool refuses two leases of one address', async t => {
  const leases = ['web', 'api'].map(owner => ({ address: '10.0.1.2', owner }))
  t.throws(() => poolOf({ leases }), {
    code: 'IPAM_ADDRESS_IN_USE',
    message: /both "web" and "api"/,
  })
})

t.test('state() carries the place and the releases over a restart', async t => {
  const before = poolOf()
  const [web] = [before.lease('web'), before.lease('api')]
  before.release(web)
  before.release(before.leaseStatic('10.0.1.4', 'db'))
  const after = poolOf({
    leases: [{ address: '10.0.1.3/24', owner: 'api' }],
    state: before.state(),
  })
  t.equal(after.lease('new'), '10.0.1.5/24')
})

t.test('state() of another subnet is passed over', async t => {
  const pool = poolOf({ state: { cursor: '10.7.0.9', released: [] } })
  t.equal(pool.lease('web'), '10.0.1.2/24')
})

t.test('lease() does not slow down with the size of the subnet or the leases', async t => {
  const big = poolOf({ subnet: '10.0.0.0/16', gateway: '10.0.0.1' })
  const wide = poolOf({ subnet: 'fd00::/64', gateway: 'fd00::1' })
  const leases = leaseAll(big)
  const started = process.cpuUsage()
  for (const lease of leases.slice(0, 20_000)) {
    big.release(lease)
    big.lease('again')
    wide.release(wide.lease('once'))
  }
  const { user } = process.cpuUsage(started)
  t.ok(user < 2_000_000, `20,000 of each took ${user} us`)
})

/** The model: what is leased to whom, and when each address was released. */
interface Model {
  readonly leased: Set<string>
  /** Oldest first. */
  readonly released: string[]
}

type Step = (model: Model, pool: AddressPool) => void

const address = fc.integer({ min: 0, max: 17 }).map(n => `10.0.1.${n}`)

const leaseStep: fc.Arbitrary<Step> = fc.constant((model, pool) => {
  if (BigInt(model.leased.size) === pool.capacity) {
    t.throws(() => pool.lease('x'), { code: 'IPAM_POOL_EXHAUSTED' })
    return
  }
  const lease = pool.lease('x').replace('/28', '')
  if (model.leased.has(lease)) throw new Error(`${lease} was given out twice`)
  const place = model.released.indexOf(lease)
  const fresh = Number(pool.capacity) - model.leased.size - model.released.length
  if (place > 0 || (place === 0 && fresh > 0)) throw new Error(`${lease} came back too early`)
  if (place === 0) model.released.shift()
  model.leased.add(lease)
})

const staticStep: fc.Arbitrary<Step> = address.map(text => (model, pool) => {
  const isOwn = ['10.0.1.0', '10.0.1.1', '10.0.1.4', '10.0.1.15'].includes(text)
  const isOutside = Number(text.split('.')[3]) > 15
  if (isOwn || isOutside || model.leased.has(text)) {
    t.throws(() => pool.leaseStatic(text, 'x'))
    return
  }
  pool.leaseStatic(text, 'x')
  model.leased.add(text)
  const place = model.released.indexOf(text)
  if (place >= 0) model.released.splice(place, 1)
})

const releaseStep: fc.Arbitrary<Step> = address.map(text => (model, pool) => {
  pool.release(text)
  if (model.leased.delete(text)) model.released.push(text)
})

/** The pool's own state through JSON, as over a restart. */
function reopen(pool: AddressPool, model: Model): AddressPool {
  const leases = [...model.leased].map(text => ({ address: text, owner: 'x' }))
  return smallPool({ leases, state: pool.state() })
}

function smallPool(options: Partial<AddressPoolOptions> = {}): AddressPool {
  return poolOf({ subnet: '10.0.1.0/28', auxAddresses: { router: '10.0.1.4' }, ...options })
}

t.test('AddressPool never overlaps, leaks or hands out early, whatever the order', async t => {
  const steps = fc.array(fc.oneof(leaseStep, leaseStep, staticStep, releaseStep, releaseStep), {
    maxLength: 80,
  })
  const property = fc.property(steps, fc.boolean(), (run, doesRestart) => {
    let pool = smallPool()
    const model: Model = { leased: new Set(), released: [] }
    for (const [i, step] of run.entries()) {
      step(model, pool)
      if (doesRestart && i % 7 === 6) pool = reopen(pool, model)
    }
    // No leak: what the model has free can all be leased.
    while (BigInt(model.leased.size) < pool.capacity)
      model.leased.add(pool.lease('x').split('/')[0] ?? '')
    return pool.leased === 12
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 300 }))
})
