/**
 * The netlink socket of node-ipvs, on any kernel: it is asked about generic netlink's own family, and
 * sent messages that the kernel only acknowledges.
 */
import koffi from 'koffi'
import { closeSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import {
  composeFamilyQuestion,
  composeRequest,
  GenericSocket,
  NLMSG,
  parseAttributes,
  parseFamilyId,
  parseGeneric,
  type Request,
  type SocketOptions,
} from 'node-ipvs/wire'
import t, { type Test } from 'tap'
import { check, libc } from '../../../src/kernel/libc.js'
import { asRoot } from '../../drivers/lab.js'
import { countDescriptors } from './lab.js'

const CONTROLLER = 16
const AF_NETLINK = 16
const SOCK_RAW = 3
const MINIMAL = { receiveBufferBytes: 0 }
const subject = { command: 'ask', what: 'the controller' }
/** The kernel acknowledges it and does nothing. */
const nothing: Request = { family: NLMSG.NOOP, command: 0, attributes: [] }
/** Refused with ENOENT. */
const unknown: Request = { family: 0xfff0, command: 1, attributes: [] }
const families: Request = { family: CONTROLLER, command: 3, attributes: [] }
const question = composeFamilyQuestion('nlctrl')

function openSocket(t: Test, options: SocketOptions = {}): GenericSocket {
  const socket = new GenericSocket(options)
  t.teardown(() => socket.close())
  return socket
}

/** Port ids of this process's generic netlink sockets (/proc/net/netlink). */
function listPorts(): readonly number[] {
  const links = readdirSync('/proc/self/fd').map(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return '' // the descriptor of readdir itself
    }
  })
  const rows = readFileSync('/proc/net/netlink', 'utf8').trim().split('\n').slice(1)
  const cells = rows.map(row => row.trim().split(/\s+/))
  const isOwn = (row: readonly string[]): boolean => links.includes(`socket:[${row.at(-1)}]`)
  return cells.filter(row => row[1] === '16' && isOwn(row)).map(row => Number(row[2]))
}

/** A socket, and a function that sends a message to it as some other process could. */
function openVictim(
  t: Test,
  options: SocketOptions,
): { socket: GenericSocket; spoof(bytes: Buffer): number } {
  const before = listPorts()
  const socket = openSocket(t, options)
  const [port] = listPorts().filter(one => !before.includes(one))
  const address = Buffer.alloc(12)
  address.writeUInt16LE(AF_NETLINK)
  address.writeUInt32LE((port ?? 0) >>> 0, 4)
  const fd = check(libc.socket(AF_NETLINK, SOCK_RAW, 16), 'open netlink')
  t.teardown(() => closeSync(fd))
  const sendto = koffi
    .load('libc.so.6')
    .func('long sendto(int fd, void *data, size_t length, int flags, void *to, uint32_t size)')
  const dontWait = 0x40
  const spoof = (bytes: Buffer): number =>
    Number(sendto(fd, bytes, bytes.length, dontWait, address, address.length))
  return { socket, spoof }
}

function verdictsOf(socket: GenericSocket, requests: readonly Request[]): readonly unknown[] {
  return socket.change(requests).map(answer => {
    if (answer.kind === 'verdict') return answer.verdict.errno
    return answer.kind === 'lost' ? answer.loss : answer.kind
  })
}

t.test('get() finds a family, dump() all of them', async t => {
  const socket = openSocket(t)
  t.equal(parseFamilyId(socket.get(question, subject)), CONTROLLER)
  const ids = socket.dump(families, subject).map(parseFamilyId)
  t.ok(ids.includes(CONTROLLER))
  t.equal(new Set(ids).size, ids.length, 'each once')
})

t.test('get() of a missing family is ENOENT', async t => {
  const socket = openSocket(t)
  const missing = composeFamilyQuestion('no such family')
  t.throws(() => socket.get(missing, subject), { name: 'IpvsError', code: 'ENOENT', ...subject })
  t.equal(parseFamilyId(socket.get(question, subject)), CONTROLLER, 'and goes on')
})

t.test('a refusal carries the words of the kernel', async t => {
  const socket = openSocket(t)
  const long = Buffer.alloc(300, 'a')
  const request = { ...composeFamilyQuestion(long.toString()) }
  try {
    socket.get(request, subject)
    t.fail('it was not refused')
  } catch (error) {
    t.match(error, { name: 'IpvsError', words: /attribute/i })
  }
})

t.test('change() gives each of 5,000 requests its own answer', async t => {
  const socket = openSocket(t)
  const requests = Array.from({ length: 5000 }, (_, i) => (i % 3 === 0 ? unknown : nothing))
  t.strictSame(
    verdictsOf(socket, requests),
    requests.map(one => (one === unknown ? 2 : 0)),
  )
})

t.test('the least receive buffer loses nothing', async t => {
  const socket = openSocket(t, MINIMAL)
  t.strictSame(verdictsOf(socket, Array<Request>(1000).fill(nothing)), Array(1000).fill(0))
  const ample = openSocket(t).dump(families, subject)
  t.strictSame(socket.dump(families, subject).map(namesOf), ample.map(namesOf))
  t.equal(parseFamilyId(socket.get(question, subject)), CONTROLLER)
})

const namesOf = (payload: Buffer): string =>
  String(parseAttributes(parseGeneric(payload).attributes).get(2))

t.test('answers beyond the buffer are lost by name, and the socket goes on', async t => {
  const socket = openSocket(t, { ...MINIMAL, burst: 5000, timeoutMs: 1000 })
  for (const round of [1, 2, 3]) {
    const outcomes = verdictsOf(socket, Array<Request>(200).fill(unknown))
    const answered = outcomes.filter(outcome => outcome === 2).length
    t.ok(answered > 0 && answered < 200, `round ${round}: ${answered} answers`)
    t.equal(outcomes.indexOf('ENOBUFS'), answered, 'then none came')
    t.equal(outcomes.lastIndexOf('ENOBUFS'), 199)
    t.equal(parseFamilyId(socket.get(question, subject)), CONTROLLER)
    t.ok(socket.dump(families, subject).length > 0)
  }
})

t.test('an answer that never comes is ETIMEDOUT', async t => {
  const socket = openSocket(t, { timeoutMs: 50 })
  const startedAt = performance.now()
  t.throws(() => socket.get(nothing, subject), { name: 'IpvsError', code: 'ETIMEDOUT' })
  t.ok(performance.now() - startedAt < 5000)
  t.equal(parseFamilyId(socket.get(question, subject)), CONTROLLER, 'and goes on')
})

t.test('a reply of anybody but the kernel is no reply', asRoot, async t => {
  const { socket, spoof } = openVictim(t, {})
  for (let sequence = 0; sequence < 20; sequence++) {
    const lie = composeRequest({ ...nothing, family: 0x99 }, 0, sequence)
    t.equal(spoof(lie), lie.length)
  }
  t.equal(parseFamilyId(socket.get(question, subject)), CONTROLLER)
})

t.test('a queue that others filled up neither stops nor misleads', asRoot, async t => {
  const asks: readonly ((socket: GenericSocket) => void)[] = [
    socket => t.equal(parseFamilyId(socket.get(question, subject)), CONTROLLER),
    socket => t.ok(socket.dump(families, subject).map(parseFamilyId).includes(CONTROLLER)),
  ]
  for (const ask of asks) {
    const { socket, spoof } = openVictim(t, { ...MINIMAL, timeoutMs: 2000 })
    for (let round = 0; round < 3; round++) {
      const lie = Buffer.alloc(600, composeRequest(nothing, 0, 1))
      let sent = 0
      while (sent < 1000 && spoof(lie) > 0) sent++
      t.ok(sent < 1000, `full after ${sent}`)
      ask(socket)
      ask(socket)
    }
  }
})

t.test('after close() every request is IPVS_CLOSED', async t => {
  const socket = new GenericSocket()
  socket.close()
  socket.close()
  const closed = { name: 'IpvsError', code: 'IPVS_CLOSED' }
  t.throws(() => socket.get(question, subject), closed)
  t.throws(() => socket.dump(families, subject), closed)
  t.throws(() => socket.change([nothing]), closed)
  t.strictSame(socket.change([]), [])
})

t.test('1,000 sockets leave no descriptor', async t => {
  const before = countDescriptors()
  for (let i = 0; i < 1000; i++) {
    const socket = new GenericSocket()
    socket.get(question, subject)
    socket.close()
  }
  t.equal(countDescriptors(), before)
})
