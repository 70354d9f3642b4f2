import t from 'tap'
import { TYPE } from '../../../resolver/rr.js'
import { MAX_DNS2_BYTES, decodeWithDns2 } from '../../../resolver/wire/dns2.js'
import { parseMessage } from '../../../resolver/wire/message-text.js'
import { composeQuery } from '../../../resolver/wire/query.js'
import { VIEWS, replyTo } from '../../fixtures/world.js'

const cases = [
  ['c1', 'c2', TYPE.A],
  ['c2', 'c2.net2', TYPE.AAAA],
  ['c1', 'x.wild', TYPE.AAAA],
  ['c1', 'nosuch.net1', TYPE.A],
  ['c1', '3.1.30.172.in-addr.arpa', TYPE.PTR],
  ['task', '_api._tcp.rr', TYPE.SRV],
  ['c1', 'many', TYPE.A],
  ['c3', 'test.example', TYPE.A],
] as const

t.test('decodeWithDns2() reads our replies as parseMessage() does', async t => {
  for (const [client, name, type] of cases) {
    for (const edns of [undefined, { do: true }]) {
      const query = composeQuery({ id: 7, name, type, ...(edns ? { edns } : {}) })
      const reply = replyTo(VIEWS[client], query)
      const ours = parseMessage(reply)
      const theirs = decodeWithDns2(reply)
      t.match(theirs, { id: 7, rcode: ours.rcode, isResponse: true }, name)
      t.equal(`${theirs?.questions[0]?.name ?? ''}.`, ours.question?.name)
      t.strictSame(
        theirs?.answers.map(each => `${each.name}. ${each.ttl} ${dataOf(each)}`),
        ours.answers.map(each => `${each.name} ${each.ttl} ${each.data}`),
        name,
      )
      t.equal(theirs?.authorities.length, ours.authorities.length)
      t.equal(theirs?.additionals.length, ours.additionals.length + (ours.edns ? 1 : 0))
    }
  }
})

t.test('decodeWithDns2() refuses what dns2 cannot survive', async t => {
  const lying = Buffer.alloc(12, 0xff)
  t.equal(decodeWithDns2(lying), undefined, 'counts of 65535')
  t.equal(decodeWithDns2(Buffer.alloc(11)), undefined, 'less than a header')
  t.equal(decodeWithDns2(Buffer.alloc(MAX_DNS2_BYTES + 1)), undefined, 'too long')
  const cut = composeQuery({ name: 'c2', type: TYPE.A }).subarray(0, 18)
  t.equal(decodeWithDns2(cut), undefined, 'a cut question')
})

function dataOf(record: NonNullable<ReturnType<typeof decodeWithDns2>>['answers'][number]): string {
  const { address, domain, priority, weight, port, target } = record
  if (target !== undefined) return `${priority} ${weight} ${port} ${target}.`
  return address ?? `${domain}.`
}
