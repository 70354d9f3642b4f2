import fc from 'fast-check'
import t from 'tap'
import { formatPrefix, parsePrefix, prefixesOverlap } from '../../src/base/ip.js'
import { chooseSubnet, defaultPools } from '../../src/ipam/index.js'
import type { Taken } from '../../src/ipam/index.js'

const pools = defaultPools('instance')

function networks(...prefixes: readonly string[]): readonly Taken[] {
  return prefixes.map((text, i) => ({ kind: 'network', prefix: parsePrefix(text), name: `n${i}` }))
}

function choose(taken: readonly Taken[], length?: number): string {
  return formatPrefix(chooseSubnet({ family: 4, pools, taken, ...(length && { length }) }))
}

/** Every subnet in turn until none is left. */
function chooseAll(): readonly string[] {
  const chosen: string[] = []
  for (let i = 0; i < 100; i++) {
    try {
      chosen.push(choose(networks(...chosen)))
    } catch {
      return chosen
    }
  }
  return chosen
}

t.test('chooseSubnet() goes through the pools of Docker in order', async t => {
  const all = chooseAll()
  t.equal(all.length, 31)
  t.strictSame(all.slice(0, 2), ['172.17.0.0/16', '172.18.0.0/16'])
  t.strictSame(all.slice(14, 17), ['172.31.0.0/16', '192.168.0.0/20', '192.168.16.0/20'])
  t.equal(all.at(-1), '192.168.240.0/20')
})

t.test('chooseSubnet() takes a subnet again when it is free', async t => {
  t.equal(choose(networks('172.18.0.0/16', '172.19.0.0/16')), '172.17.0.0/16')
})

t.test('chooseSubnet() passes over what the host has', async t => {
  const cases: readonly (readonly [string, Taken, string])[] = [
    [
      'a route',
      { kind: 'route', prefix: parsePrefix('172.16.0.0/12'), isOnLink: false, via: '192.0.2.1' },
      '192.168.0.0/20',
    ],
    [
      'an address',
      { kind: 'address', prefix: parsePrefix('172.17.3.4/32'), device: 'eth0' },
      '172.18.0.0/16',
    ],
    [
      'a nameserver',
      { kind: 'nameserver', prefix: parsePrefix('172.17.0.53/32') },
      '172.18.0.0/16',
    ],
    [
      'no default route',
      { kind: 'route', prefix: parsePrefix('0.0.0.0/0'), isOnLink: false, via: '192.0.2.1' },
      '172.17.0.0/16',
    ],
  ]
  for (const [name, taken, expected] of cases) t.equal(choose([taken]), expected, name)
})

t.test('chooseSubnet() of a length cuts the pools smaller', async t => {
  t.equal(choose(networks('172.17.0.0/25'), 24), '172.17.1.0/24')
})

t.test('chooseSubnet() says that nothing is left', async t => {
  t.throws(() => choose(networks('0.0.0.0/1', '128.0.0.0/1')), { code: 'IPAM_NO_FREE_SUBNET' })
  t.throws(() => choose([], 8), { code: 'IPAM_NO_FREE_SUBNET', message: /of length \/8/ })
})

t.test('chooseSubnet() of IPv6 counts up in the unique-local /48', async t => {
  const first = chooseSubnet({ family: 6, pools, taken: [] })
  const taken: readonly Taken[] = [{ kind: 'network', prefix: first, name: 'n' }]
  const second = chooseSubnet({ family: 6, pools, taken })
  t.equal(second.base - first.base, 1n << 64n)
  t.equal(first.length, 64)
})

t.test('defaultPools() gives each instance a /48 of fd00::/8 that stays', async t => {
  const [a, again, b] = ['a', 'a', 'b'].map(id => defaultPools(id).at(-1)?.base)
  t.strictSame(a, again)
  t.notSame(a, b)
  t.equal(a?.length, 48)
  t.equal((a?.base ?? 0n) >> 120n, 0xfdn)
})

t.test('chooseSubnet() never overlaps, whatever is taken', async t => {
  const prefix = fc
    .tuple(
      fc.constantFrom(172, 192),
      fc.integer({ min: 0, max: 255 }),
      fc.integer({ min: 9, max: 32 }),
    )
    .map(([a, b, length]) => parsePrefix(`${a}.${b}.37.129/${length}`))
  const property = fc.property(fc.array(prefix, { maxLength: 20 }), prefixes => {
    const taken = prefixes.map((one): Taken => ({ kind: 'network', prefix: one, name: 'n' }))
    let chosen
    try {
      chosen = chooseSubnet({ family: 4, pools, taken })
    } catch {
      return chooseAll().every(text =>
        prefixes.some(one => prefixesOverlap(one, parsePrefix(text))),
      )
    }
    return !prefixes.some(one => prefixesOverlap(one, chosen))
  })
  t.doesNotThrow(() => fc.assert(property))
})
