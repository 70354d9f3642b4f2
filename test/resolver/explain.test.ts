import t from 'tap'
import { explain } from '../../resolver/explain.js'
import { TYPE } from '../../resolver/rr.js'
import { VIEWS } from '../fixtures/world.js'

t.test('explain() names the network, the endpoints and the records of an answer', async t => {
  t.match(explain(VIEWS.c1, 'Shared', TYPE.A), {
    name: 'shared.',
    type: 'A',
    outcome: 'answer',
    network: 'net1',
    sources: ['endpoint aaaaaaaaaaaa', 'endpoint bbbbbbbbbbbb'],
    reason: 'found on network "net1", the first that has the name',
  })
  t.equal(explain(VIEWS.c1, 'shared', TYPE.A).answers.length, 2)
  t.match(explain(VIEWS.task, 'web', TYPE.A), { sources: ['service /web'], network: 'ov1' })
})

const reasons = [
  ['l1', 'al2', 'answer', 'found as a link alias of this sandbox on network "net1"'],
  ['c1', 'c2.net1', 'answer', 'found as a name below network "net1"'],
  ['c1', 'no.net1', 'name-error', 'denied as a name below network "net1"'],
  [
    'c1',
    'c2.net2',
    'name-error',
    'denied: the last label is a network of this host that is not attached',
  ],
  ['c1', 'x.wild', 'answer', 'found through a wildcard alias on network "net1"'],
  [
    'c1',
    '9.2.30.172.in-addr.arpa',
    'name-error',
    'denied: the address is in a network of this host that is not attached',
  ],
  ['c1', '99.1.30.172.in-addr.arpa', 'name-error', 'denied in a subnet of network "net1"'],
  ['c1', 'localhost', 'answer', 'found: the name has a fixed meaning'],
  ['both', 'no.dns.podman', 'name-error', 'denied below the private suffix dns.podman.'],
  [
    'task',
    '_x._udp.web',
    'name-error',
    'denied: the parent name is on network "ov1" and has no such port',
  ],
  ['task', '_tcp.web', 'no-data', 'found as the parent of service ports on network "ov1"'],
  ['c1', 'test.example', 'forward', 'forwarded: no attached network has the name'],
  ['c3', 'test.example', 'failure', 'internal network: nothing is forwarded'],
  ['c3', 'nosuch', 'name-error', 'denied: nothing leaves this sandbox'],
  ['ndots', 'test', 'no-data', 'left to the search list: ndots is set and the name has one label'],
  ['closed', 'test', 'name-error', 'denied: names of one label are not forwarded'],
] as const

t.test('explain() gives the rule that decided', async t => {
  for (const [client, name, outcome, reason] of reasons) {
    t.match(explain(VIEWS[client], name, TYPE.A), { outcome, reason }, name)
  }
})

t.test('explain() refuses a name that cannot be asked', async t => {
  t.throws(() => explain(VIEWS.c1, 'a..b', TYPE.A), { code: 'NAME_INVALID' })
  t.equal(explain(VIEWS.c1, '.', TYPE.NS).outcome, 'forward')
})
