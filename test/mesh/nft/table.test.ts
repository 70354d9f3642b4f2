import t from 'tap'
import { Contents } from '../../../mesh/nft/contents.js'
import { composeDrawChain } from '../../../mesh/nft/draw.js'
import type { Element, TableProgram } from '../../../mesh/nft/program.js'
import { NftTable, runSteps } from '../../../mesh/nft/table.js'
import { BATCH_ELEMENTS } from '../../../mesh/nft/transaction.js'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../../src/kernel/netns.js'
import { asRoot, run } from '../../drivers/lab.js'

const program: TableProgram = {
  name: 'portolan_test',
  collections: [
    { name: 'slots4', key: ['mark', 'number'], data: 'ipv4' },
    { name: 'slots6', key: ['mark', 'number'], data: 'ipv6' },
    { name: 'picks', key: ['mark'], data: 'verdict', isEntry: true },
    { name: 'ports', key: ['protocol', 'port'], data: 'mark', isEntry: true },
    { name: 'ranges', key: ['ipv6', 'protocol', 'port'], data: 'mark', isInterval: true },
    { name: 'near', key: ['ipv4'], data: 'ipv4', isInterval: true },
    { name: 'points', key: ['mac'], data: 'mark' },
    { name: 'counted', key: ['ipv6'], hasCounters: true },
  ],
  chains: `  chain output {
    type nat hook output priority -100; policy accept;
    meta mark vmap @picks
  }
`,
  composeChain: name => composeDrawChain(name, () => 'meta mark'),
}

const ELEMENTS: readonly Element[] = [
  { collection: 'slots4', key: '1342177287 . 0', data: '10.99.0.2' },
  { collection: 'slots4', key: '1342177287 . 1', data: '10.99.0.3' },
  { collection: 'slots6', key: '7 . 0', data: 'fd00:99::2' },
  { collection: 'picks', key: '1342177287', data: 'random4_2' },
  { collection: 'picks', key: '7', data: 'hash6_251' },
  { collection: 'ports', key: 'tcp . 80', data: '7' },
  { collection: 'ports', key: 'sctp . 65535', data: '4294967295' },
  { collection: 'ranges', key: '2001:db8::1 . udp . 7000-7009', data: '7' },
  { collection: 'near', key: '0.0.0.0-9.255.255.255', data: '192.0.2.1' },
  { collection: 'near', key: '10.0.0.0-10.0.0.255', data: '10.0.0.1' },
  { collection: 'near', key: '10.0.1.0-10.0.1.255', data: '10.0.1.1' },
  { collection: 'near', key: '10.0.2.7', data: '10.0.2.1' },
  { collection: 'near', key: '11.0.0.0-255.255.255.255', data: '192.0.2.1' },
  { collection: 'points', key: '02:42:0a:63:00:01', data: '4097' },
  { collection: 'counted', key: '2001:db8::1:0:0:1', data: '' },
]

interface Place {
  readonly netns: Netns
  /** By a process that starts now. */
  reconcile(elements?: readonly Element[]): number
}

function openPlace(t: { teardown(body: () => void): void }): Place {
  const netns = createNetns()
  t.teardown(() => closeNetns(netns))
  const reconcile = (elements = ELEMENTS): number =>
    runInNetns(netns, () => runSteps(new NftTable(program).reconcile(new Contents(elements))))
  return { netns, reconcile }
}

t.test('what was written is found again, of every kind', asRoot, async t => {
  const { reconcile } = openPlace(t)
  t.ok(reconcile() > 0)
  t.equal(reconcile(), 0)
})

t.test('elements that differ are mended one by one, the table stays', asRoot, async t => {
  const { netns, reconcile } = openPlace(t)
  reconcile()
  const handle = (): string => run(netns, 'nft', '-a', 'list tables')
  const before = handle()
  run(netns, 'nft', 'add element inet portolan_test ports { tcp . 81 : 7 }')
  run(netns, 'nft', 'delete element inet portolan_test ports { tcp . 80 }')
  run(netns, 'nft', 'delete element inet portolan_test near { 10.0.2.7 }')
  t.equal(reconcile(), 3)
  t.equal(reconcile(), 0)
  t.equal(handle(), before)
})

const damages = [
  ['a rule too many', 'insert rule inet portolan_test output accept'],
  ['a rule that is gone', 'flush chain inet portolan_test output'],
  ['a chain too many', 'add chain inet portolan_test other { type filter hook input priority 0; }'],
  ['a set too many', 'add set inet portolan_test other { type ipv4_addr; }'],
  ['a chain that draws otherwise', 'flush chain inet portolan_test random4_2'],
  ['a table that sleeps', 'add table inet portolan_test { flags dormant; }'],
  ['no table', 'delete table inet portolan_test'],
  ['nothing at all', 'flush ruleset'],
] as const
for (const [name, damage] of damages) {
  t.test(`mended: ${name}`, asRoot, async t => {
    const { netns, reconcile } = openPlace(t)
    reconcile()
    run(netns, 'nft', damage)
    t.ok(reconcile() > 0)
    t.equal(reconcile(), 0)
  })
}

t.test('chains that nothing leads to go with the next reconcile', asRoot, async t => {
  const { netns, reconcile } = openPlace(t)
  reconcile()
  t.match(run(netns, 'nft', 'list chains'), 'random4_2')
  t.equal(reconcile(ELEMENTS.filter(one => one.collection !== 'picks')), 2)
  t.notMatch(run(netns, 'nft', 'list chains'), 'random4_2')
})

t.test('a change of more than one batch holds', asRoot, async t => {
  const { netns, reconcile } = openPlace(t)
  const slots = Array.from({ length: BATCH_ELEMENTS + 10 }, (_, i): Element => ({
    collection: 'slots4',
    key: `9 . ${i}`,
    data: '10.99.0.2',
  }))
  reconcile()
  const table = new NftTable(program)
  const steps = table.reconcile(new Contents([...ELEMENTS, ...slots]))
  t.equal(
    runInNetns(netns, () => runSteps(steps)),
    slots.length,
  )
  t.equal(
    runInNetns(netns, () => runSteps(table.change(slots, []))),
    slots.length,
  )
  t.equal(reconcile(), 0)
})

t.test('a refused change is not remembered', asRoot, async t => {
  const { netns, reconcile } = openPlace(t)
  const table = new NftTable(program)
  runInNetns(netns, () => runSteps(table.reconcile(new Contents(ELEMENTS))))
  const wrong: Element = { collection: 'ports', key: 'tcp . nonsense', data: '7' }
  t.throws(() => runInNetns(netns, () => runSteps(table.change([], [wrong]))), {
    name: 'KernelError',
  })
  t.notOk(table.isKnown)
  t.equal(reconcile(), 0)
})
