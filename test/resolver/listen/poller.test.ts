import t from 'tap'
import { execFileSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { openPoller } from '../../../resolver/listen/poller.js'
import { loadLibc } from '../../../resolver/listen/libc.js'
import { MessageBlock } from '../../../resolver/listen/message-block.js'
import { openUdpSocket, socketAddress } from '../../../resolver/listen/socket.js'
import { until } from './fixture.js'
import type { Libc } from '../../../resolver/listen/libc.js'

const libc = loadLibc()

function openPair(libc: Libc): { fd: number; wake(): void; drain(): number; close(): void } {
  const fd = openUdpSocket(libc, '127.0.0.1', 0)
  const block = new MessageBlock(libc)
  const sender = createSocket('udp4')
  return {
    fd,
    wake: () => sender.send('x', socketAddress(libc, fd).port, '127.0.0.1'),
    drain: () => block.receive(fd),
    close: () => {
      sender.close()
      libc.close(fd)
    },
  }
}

t.test('Poller', { skip: typeof libc === 'string' ? libc : false }, async t => {
  if (typeof libc === 'string') return

  t.test('calls back until what waits has been read', async t => {
    const poller = openPoller()
    const pair = openPair(libc)
    let calls = 0
    poller.add(pair.fd, () => {
      if (++calls === 3) pair.drain()
    })
    pair.wake()
    await until(() => calls === 3, 'three calls')
    await new Promise(resolve => setImmediate(resolve))
    t.equal(calls, 3, 'level triggered, and silent when empty')
    await poller.close()
    pair.close()
  })

  t.test('an exception goes to onError, and watching goes on', async t => {
    const errors: [unknown, number][] = []
    const poller = openPoller((error, fd) => errors.push([error, fd]))
    const pair = openPair(libc)
    poller.add(pair.fd, () => {
      pair.drain()
      throw new Error('from a callback')
    })
    pair.wake()
    await until(() => errors.length === 1, 'the first error')
    pair.wake()
    await until(() => errors.length === 2, 'the second error')
    t.match(errors[0], [{ message: 'from a callback' }, pair.fd])
    await poller.close()
    pair.close()
  })

  t.test('ticks and promises queued in a callback run in its turn', async t => {
    const poller = openPoller()
    const pair = openPair(libc)
    let hasTicked = false
    poller.add(pair.fd, () => {
      pair.drain()
      void Promise.resolve().then(() => process.nextTick(() => (hasTicked = true)))
    })
    const far = setTimeout(() => undefined, 60_000)
    let wasInTurn = false
    pair.wake()
    await new Promise<void>(resolve => {
      const look = (): void => {
        if (hasTicked) {
          wasInTurn = true
          resolve()
        } else setImmediate(look)
      }
      setImmediate(look)
    })
    clearTimeout(far)
    t.ok(wasInTurn)
    await poller.close()
    pair.close()
  })

  t.test('remove() and add() within a callback hold at once', async t => {
    const poller = openPoller()
    const first = openPair(libc)
    const second = openPair(libc)
    const calls: string[] = []
    poller.add(first.fd, () => {
      calls.push('first')
      poller.remove(first.fd)
      poller.add(second.fd, () => {
        calls.push('second')
        second.drain()
      })
    })
    first.wake()
    second.wake()
    await until(() => calls.includes('second'), 'the second callback')
    t.strictSame(calls, ['first', 'second'])
    await poller.close()
    first.close()
    second.close()
  })

  t.test('a socket error is told, and watching goes on after it', async t => {
    const poller = openPoller()
    const pair = openPair(libc)
    const gone = openPair(libc)
    // A connected socket keeps the ICMP error of a closed port: epoll says EPOLLERR.
    const name = Buffer.alloc(16)
    libc.getsockname(gone.fd, name, Uint32Array.of(16))
    gone.close()
    libc.connect(pair.fd, name, name.length)
    let calls = 0
    poller.add(pair.fd, () => {
      calls++
      pair.drain()
    })
    const send = (): number => libc.sendto(pair.fd, Buffer.from('x'), 1, 0, name, name.length)
    send()
    await until(() => calls >= 1, 'the first error')
    const before = calls
    await until(() => (send(), calls > before), 'the next error')
    t.ok(calls > before)
    await poller.close()
    pair.close()
  })

  t.test('wrong use is told by code', async t => {
    const poller = openPoller()
    const pair = openPair(libc)
    poller.add(pair.fd, () => undefined)
    t.throws(() => poller.add(pair.fd, () => undefined), { code: 'POLLER_FD_IN_USE' })
    t.throws(() => poller.add(99_999, () => undefined), { code: 'POLLER_BAD_FD' })
    poller.remove(12_345)
    await poller.close()
    t.throws(() => poller.add(pair.fd, () => undefined), { code: 'POLLER_CLOSED' })
    pair.close()
  })

  t.test('a closed poller lets the process end', async t => {
    const url = new URL('../../../resolver/listen/', import.meta.url)
    const program = `
      const { openPoller } = await import('${url.href}poller.js')
      const { loadLibc } = await import('${url.href}libc.js')
      const { openUdpSocket } = await import('${url.href}socket.js')
      const poller = openPoller()
      poller.add(openUdpSocket(loadLibc(), '127.0.0.1', 0), () => undefined)
      setTimeout(() => { poller.close(); console.log('closed') }, 20)`
    const args = ['--input-type=module', '--eval', program]
    t.equal(execFileSync(process.execPath, args, { timeout: 10_000 }).toString().trim(), 'closed')
  })
})
