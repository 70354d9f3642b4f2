import t from 'tap'
import { composeQuery } from '../../resolver/wire/query.js'
import { parseMessage } from '../../resolver/wire/message-text.js'
import { asRoot } from '../lab/host.js'
import { askUdp, askTcp } from '../lab/probe.js'
import { openWorld } from '../lab/world.js'

t.test('smoke', asRoot, async t => {
  const t0 = performance.now()
  const host = await openWorld(t, { isMany: true })
  t.comment(`up ${performance.now() - t0}`)
  const c1 = await host.netnsOf('c1')
  for (const name of ['c2', 'test.example']) {
    const packet = composeQuery({ name, type: 1 })
    const udp = await askUdp(c1, packet)
    t.comment(udp.ms, JSON.stringify(parseMessage(udp.reply ?? Buffer.alloc(0))))
    const tcp = await askTcp(c1, packet)
    t.comment(tcp.ms, JSON.stringify(parseMessage(tcp.reply ?? Buffer.alloc(0))))
  }
  t.comment(host.daemonLog())
})
