/** Every errno of IPVS, by the client where it can provoke it, else by its bytes. */
import { spawnSync } from 'node:child_process'
import type { Destination, Service } from 'node-ipvs'
import {
  attribute,
  COMMAND,
  composeDestination,
  composeFamilyQuestion,
  composeService,
  composeServiceId,
  DESTINATION,
  FAMILY_NAME,
  GenericSocket,
  nested,
  parseAttributes,
  parseFamilyId,
  SERVICE,
  text,
  u16,
  u32,
} from 'node-ipvs/wire'
import t, { type Test } from 'tap'
import { getSystemErrorName } from 'node:util'
import { runInNetns } from '../../../../src/kernel/netns.js'
import { codeOf, openClient, saveThere } from '../lab.js'

const web: Service = {
  kind: 'address',
  protocol: 'tcp',
  address: '10.0.0.1',
  port: 80,
  scheduler: 'rr',
}
const absent: Service = { ...web, port: 81 }
const mark: Service = { kind: 'fwmark', family: 4, mark: 9, scheduler: 'rr' }
const backend: Destination = {
  address: '10.0.1.1',
  port: 8080,
  weight: 1,
  forwarding: { kind: 'masquerade' },
}
const stranger: Destination = { ...backend, address: '10.0.1.2' }

// An emulated machine may run this, many times slower.
t.setTimeout(240_000)

t.test('the client names every refusal', async t => {
  const { ipvs, netns } = openClient(t)
  ipvs.createService(web)
  ipvs.createService(mark)
  ipvs.createDestination(web, backend)
  const before = saveThere(netns)
  const cases: readonly (readonly [string, () => unknown])[] = [
    ['EEXIST', () => ipvs.createService(web)],
    ['EEXIST', () => ipvs.createService(mark)],
    ['EEXIST', () => ipvs.createDestination(web, backend)],
    ['ENOENT', () => ipvs.createService({ ...absent, scheduler: 'nosuch' })],
    ['ENOENT', () => ipvs.updateService({ ...web, scheduler: 'nosuch' })],
    ['ENOENT', () => ipvs.createService({ ...absent, persistenceEngine: 'nosuch' })],
    ['ENOENT', () => ipvs.updateDestination(web, stranger)],
    ['ENOENT', () => ipvs.removeDestination(web, stranger)],
    ['ESRCH', () => ipvs.updateService(absent)],
    ['ESRCH', () => ipvs.removeService(absent)],
    ['ESRCH', () => ipvs.getService(absent)],
    ['ESRCH', () => ipvs.zero(absent)],
    ['ESRCH', () => ipvs.createDestination(absent, backend)],
    ['ESRCH', () => ipvs.updateDestination(absent, backend)],
    ['ESRCH', () => ipvs.ensureDestination(absent, backend)],
    ['ESRCH', () => ipvs.removeDestination(absent, backend)],
    ['ESRCH', () => ipvs.listDestinations(absent)],
    ['ESRCH', () => ipvs.getService({ ...mark, mark: 10 })],
    ['ESRCH', () => ipvs.getService({ ...mark, family: 6 })],
    ['ESRCH', () => ipvs.stopDaemon('master')],
    ['ENODEV', () => ipvs.startDaemon({ state: 'master', interface: 'nosuch0', syncId: 1 })],
    ['EINVAL', () => ipvs.createDestination(web, { ...backend, address: '255.255.255.255' })],
    ['EINVAL', () => ipvs.createDestination(web, { ...backend, address: '224.0.0.1' })],
    ['EINVAL', () => ipvs.setTimeouts({ tcpSeconds: 0x7fff_ffff })],
    ['IPVS_BAD_INPUT', () => ipvs.createDestination(web, { ...backend, weight: -1 })],
    ['IPVS_BAD_INPUT', () => ipvs.createDestination(web, { ...backend, address: 'fd00::1' })],
  ]
  for (const [code, attempt] of cases) t.equal(codeOf(attempt), code, attempt.toString())
  t.strictSame(saveThere(netns), before, 'and nothing changed')
})

t.test('an error says what was attempted, on what, and what to do', async t => {
  const { ipvs } = openClient(t)
  ipvs.createService(web)
  t.throws(() => ipvs.createService(web), {
    name: 'IpvsError',
    command: 'create service',
    what: 'tcp 10.0.0.1:80',
    message: 'Cannot create service tcp 10.0.0.1:80: it exists already; update it instead (EEXIST)',
  })
  t.throws(() => ipvs.updateDestination(web, backend), {
    command: 'update destination',
    what: '10.0.1.1:8080 of tcp 10.0.0.1:80',
    message: /there is no such destination; create it first \(ENOENT\)/,
  })
  t.throws(() => ipvs.createService({ ...absent, scheduler: 'nosuch' }), {
    message: /this kernel has no scheduler "nosuch" \(`modprobe ip_vs_nosuch`\)/,
  })
})

/** A service or destination as bytes, with some attributes replaced or (undefined) left out. */
function altered(bytes: Buffer, changes: Readonly<Record<number, Buffer | undefined>>): Buffer {
  const parts = [...parseAttributes(bytes)].flatMap(([type, data]) => {
    if (!(type in changes)) return [attribute(type, data)]
    const change = changes[type]
    return change === undefined ? [] : [change]
  })
  const added = Object.entries(changes).flatMap(([type, change]) =>
    change !== undefined && !parseAttributes(bytes).has(Number(type)) ? [change] : [],
  )
  return Buffer.concat([...parts, ...added])
}

function openRaw(t: Test): {
  send(command: number, ...attributes: readonly Buffer[]): string
  ask(command: number, ...attributes: readonly Buffer[]): string
} {
  const { ipvs, netns } = openClient(t)
  ipvs.createService(web)
  const socket = runInNetns(netns, () => new GenericSocket())
  t.teardown(() => socket.close())
  const subject = { command: 'ask', what: 'IPVS' }
  const family = parseFamilyId(socket.get(composeFamilyQuestion(FAMILY_NAME), subject))
  return {
    send: (command, ...attributes) => {
      const [answer] = socket.change([{ family, command, attributes }])
      if (answer?.kind !== 'verdict') return 'lost'
      const { errno } = answer.verdict
      return errno === 0 ? 'none' : getSystemErrorName(-errno).replace('ENOTSUP', 'EOPNOTSUPP')
    },
    ask: (command, ...attributes) =>
      codeOf(() => socket.get({ family, command, attributes }, subject)),
  }
}

t.test('the kernel refuses what the client would not send', async t => {
  const { send, ask } = openRaw(t)
  const { NEW_SERVICE, NEW_DEST, GET_DEST, GET_DAEMON } = COMMAND
  const service = composeService(absent)
  const serviceV6 = composeService({ ...absent, address: 'fd00::1' })
  const id = nested(SERVICE, composeServiceId(web))
  const destination = composeDestination(backend)
  const destinationV6 = composeDestination({ ...backend, address: 'fd00::2' })
  const gue = composeDestination({
    ...backend,
    forwarding: { kind: 'tunnel', encapsulation: 'gue', port: 1 },
  })
  const newService = (changes: Readonly<Record<number, Buffer | undefined>>, of = service) =>
    send(NEW_SERVICE, nested(SERVICE, altered(of, changes)))
  const newDestination = (
    changes: Readonly<Record<number, Buffer | undefined>>,
    of = destination,
  ): string => send(NEW_DEST, id, nested(DESTINATION, altered(of, changes)))

  const maxMask = u32(9, 0xffff_ffff)
  t.equal(newService({ 1: u16(1, 1) }), 'EAFNOSUPPORT', 'a family that is no IP')
  t.equal(newService({ 6: text(6, 'sixteen-letters-') }), 'EINVAL', 'a long scheduler')
  t.equal(newService({ 9: maxMask }, serviceV6), 'EINVAL', 'an IPv4 mask of an IPv6 service')
  for (const missing of [6, 7, 8, 9]) {
    t.equal(newService({ [missing]: undefined }), 'EINVAL', `a service without ${missing}`)
  }
  for (const missing of [3, 4, 5, 6]) {
    t.equal(newDestination({ [missing]: undefined }), 'EINVAL', `a destination without ${missing}`)
  }
  t.equal(newDestination({ 4: u32(4, 0xffff_ffff) }), 'ERANGE', 'a weight below 0')
  t.equal(newDestination({ 6: u32(6, 1) }), 'ERANGE', 'a lower threshold above the upper one')
  t.equal(newDestination({}, destinationV6), 'EINVAL', 'another family without a tunnel')
  t.equal(newDestination({ 14: attribute(14, Buffer.alloc(2)) }, gue), 'EINVAL', 'GUE to port 0')
  t.equal(ask(GET_DEST, id), 'EOPNOTSUPP', 'destinations without a dump')
  t.equal(ask(GET_DAEMON), 'EOPNOTSUPP', 'daemons without a dump')
  t.equal(send(99), 'EOPNOTSUPP', 'an unknown command')
  t.equal(newDestination({}), 'none', 'and what is left as it was is taken')
  t.equal(newService({}), 'none')
})

t.test('without CAP_NET_ADMIN everything is EPERM', async t => {
  const program = `
    const { Ipvs } = await import(${JSON.stringify(import.meta.resolve('node-ipvs'))})
    const ipvs = Ipvs.open()
    const codes = [() => ipvs.listServices(), () => ipvs.flush(), () => ipvs.getInfo()].map(body => {
      try { body(); return 'none' } catch (error) { return error.code + ' ' + error.message }
    })
    console.log(JSON.stringify(codes))`
  const words = ['--bounding-set=-net_admin', '--inh-caps=-net_admin', process.execPath]
  const { stdout, stderr } = spawnSync(
    'setpriv',
    [...words, '--input-type=module', '-e', program],
    { encoding: 'utf8' },
  )
  t.equal(stderr, '')
  const codes = JSON.parse(stdout) as readonly string[]
  t.equal(codes.length, 3)
  for (const code of codes) t.match(code, /^EPERM .*CAP_NET_ADMIN.*run it as root \(EPERM\)$/)
})
