/** The kernel and ipvsadm as independent witnesses: what we write it reads, what it writes we read. */
import {
  canonicalDestination,
  canonicalService,
  type Destination,
  type Ipvs,
  type Service,
  type ServiceId,
} from 'node-ipvs'
import t from 'tap'
import { linesOf, openClient, openNamespace, restoreThere, runThere, saveThere } from '../lab.js'

interface Case {
  readonly service: Service
  readonly destinations?: readonly Destination[]
  /** As `ipvsadm --save -n` prints them. */
  readonly lines: readonly string[]
}

const web: Service = {
  kind: 'address',
  protocol: 'tcp',
  address: '10.0.0.1',
  port: 80,
  scheduler: 'wlc',
}
const backend: Destination = {
  address: '10.0.1.1',
  port: 8080,
  weight: 1,
  forwarding: { kind: 'masquerade' },
}
const kind = 'tunnel'

/** Where addresses are not rewritten, ports are not either, and ipvsadm writes the service's. */
const cases: readonly Case[] = [
  {
    service: web,
    destinations: [
      { ...backend, weight: 3 },
      { ...backend, address: '10.0.1.2', weight: 0 },
      {
        ...backend,
        address: '10.0.1.3',
        port: 80,
        weight: 2147483647,
        forwarding: { kind: 'direct-route' },
      },
      { ...backend, address: '10.0.1.5', port: 80, forwarding: { kind, encapsulation: 'ipip' } },
      {
        ...backend,
        address: '10.0.1.6',
        port: 80,
        forwarding: { kind, encapsulation: 'gue', port: 6080 },
      },
      {
        ...backend,
        address: '10.0.1.7',
        port: 80,
        forwarding: { kind, encapsulation: 'gue', port: 6081, flags: ['checksum'] },
      },
      {
        ...backend,
        address: '10.0.1.8',
        port: 80,
        forwarding: { kind, encapsulation: 'gue', port: 65535, flags: ['remote-checksum'] },
      },
      { ...backend, address: '10.0.1.9', port: 80, forwarding: { kind, encapsulation: 'gre' } },
      {
        ...backend,
        address: '10.0.1.10',
        port: 80,
        forwarding: { kind, encapsulation: 'gre', flags: ['checksum'] },
      },
      { ...backend, address: 'fd00::9', port: 80, forwarding: { kind, encapsulation: 'ipip' } },
    ],
    lines: [
      '-A -t 10.0.0.1:80 -s wlc',
      '-a -t 10.0.0.1:80 -r 10.0.1.1:8080 -m -w 3',
      '-a -t 10.0.0.1:80 -r 10.0.1.2:8080 -m -w 0',
      '-a -t 10.0.0.1:80 -r 10.0.1.3:80 -g -w 2147483647',
      '-a -t 10.0.0.1:80 -r 10.0.1.5:80 -i -w 1 --tun-type ipip',
      '-a -t 10.0.0.1:80 -r 10.0.1.6:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum',
      '-a -t 10.0.0.1:80 -r 10.0.1.7:80 -i -w 1 --tun-type gue --tun-port 6081 --tun-csum',
      '-a -t 10.0.0.1:80 -r 10.0.1.8:80 -i -w 1 --tun-type gue --tun-port 65535 --tun-remcsum',
      '-a -t 10.0.0.1:80 -r 10.0.1.9:80 -i -w 1 --tun-type gre --tun-nocsum',
      '-a -t 10.0.0.1:80 -r 10.0.1.10:80 -i -w 1 --tun-type gre --tun-csum',
      '-a -t 10.0.0.1:80 -r [fd00::9]:80 -i -w 1 --tun-type ipip',
    ],
  },
  {
    service: { ...web, protocol: 'udp', port: 53, scheduler: 'rr', flags: ['one-packet'] },
    destinations: [{ ...backend, port: 53 }],
    lines: ['-A -u 10.0.0.1:53 -s rr -o', '-a -u 10.0.0.1:53 -r 10.0.1.1:53 -m -w 1'],
  },
  {
    service: { ...web, protocol: 'sctp', port: 65535, scheduler: 'nq' },
    lines: ['-A --sctp-service 10.0.0.1:65535 -s nq'],
  },
  {
    service: {
      ...web,
      address: 'fd00::1',
      scheduler: 'sh',
      flags: ['fallback', 'source-port'],
      persistence: { timeoutSeconds: 360, prefixLength: 64 },
    },
    destinations: [{ ...backend, address: 'fd00:0:0:1::2' }],
    lines: [
      '-A -t [fd00::1]:80 -s sh -p 360 -M 64 -b sh-fallback,sh-port',
      '-a -t [fd00::1]:80 -r [fd00:0:0:1::2]:8080 -m -w 1',
    ],
  },
  {
    service: {
      ...web,
      port: 0,
      scheduler: 'mh',
      flags: ['source-port'],
      persistence: { timeoutSeconds: 10, prefixLength: 24 },
    },
    lines: ['-A -t 10.0.0.1:0 -s mh -p 10 -M 255.255.255.0 -b mh-port'],
  },
  {
    service: { ...web, port: 81, persistence: { timeoutSeconds: 2678400, netmask: '255.0.255.0' } },
    lines: ['-A -t 10.0.0.1:81 -s wlc -p 2678400 -M 255.0.255.0'],
  },
  {
    service: {
      ...web,
      protocol: 'udp',
      port: 5060,
      scheduler: 'rr',
      persistence: { timeoutSeconds: 30 },
      persistenceEngine: 'sip',
    },
    lines: ['-A -u 10.0.0.1:5060 -s rr -p 30 --pe sip'],
  },
  {
    service: { kind: 'fwmark', family: 4, mark: 7, scheduler: 'wrr' },
    destinations: [{ ...backend, port: 0 }],
    lines: ['-A -f 7 -s wrr', '-a -f 7 -r 10.0.1.1:0 -m -w 1'],
  },
  {
    service: { kind: 'fwmark', family: 6, mark: 7, scheduler: 'dh', flags: ['scheduler-3'] },
    destinations: [{ ...backend, address: 'fd00::2', port: 0 }],
    lines: ['-A -f 7 -6 -s dh -b flag-3', '-a -f 7 -6 -r [fd00::2]:0 -m -w 1'],
  },
]

const allLines = cases.flatMap(({ lines }) => lines).sort()

/** What the kernel has, by our own reader, in the order of the cases. */
function readBack(ipvs: Ipvs): readonly unknown[] {
  const services = ipvs.listServices().map(({ service }) => service)
  return services
    .map(service => ({
      service,
      destinations: ipvs.listDestinations(service).map(({ destination }) => destination),
    }))
    .map(entry => ({ ...entry, destinations: sorted(entry.destinations) }))
    .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
}

function expected(): readonly unknown[] {
  return cases
    .map(({ service, destinations = [] }) => ({
      service: canonicalService(service),
      destinations: sorted(destinations.map(one => canonicalDestination(one, service))),
    }))
    .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
}

function sorted(destinations: readonly Destination[]): readonly Destination[] {
  return [...destinations].sort((a, b) => (a.address < b.address ? -1 : 1))
}

// An emulated machine may run this, many times slower.
t.setTimeout(240_000)

t.test('ipvsadm reads what we create', async t => {
  const { ipvs, netns } = openClient(t)
  for (const { service, destinations = [] } of cases) {
    ipvs.createService(service)
    for (const destination of destinations) ipvs.createDestination(service, destination)
  }
  t.strictSame(saveThere(netns), allLines)
  t.strictSame(readBack(ipvs), expected(), 'and so do we')
})

t.test('we read what ipvsadm creates, and write the same again', async t => {
  const { ipvs, netns } = openClient(t)
  restoreThere(
    netns,
    cases.flatMap(({ lines }) => lines),
  )
  t.strictSame(saveThere(netns), allLines, 'ipvsadm agrees with itself')
  t.strictSame(readBack(ipvs), expected())

  const other = openClient(t)
  for (const { service } of ipvs.listServices()) {
    other.ipvs.createService(service)
    for (const { destination } of ipvs.listDestinations(service)) {
      other.ipvs.createDestination(service, destination)
    }
  }
  t.strictSame(saveThere(other.netns), allLines)
})

t.test('forwarding methods and thresholds are what ipvsadm lists', async t => {
  const { ipvs, netns } = openClient(t)
  ipvs.createService(web)
  const methods = ['masquerade', 'local', 'direct-route', 'bypass'] as const
  for (const [i, method] of methods.entries()) {
    const thresholds = { upperThreshold: 10 + i, lowerThreshold: i }
    const address = `10.0.2.${i}`
    const forwarding = { kind: method }
    ipvs.createDestination(web, { ...backend, address, forwarding, ...thresholds })
  }
  const list = linesOf(runThere(netns, 'ipvsadm', '-Ln')).flatMap(line => {
    const [arrow, endpoint, method] = line.split(/\s+/)
    return arrow === '->' && endpoint !== 'RemoteAddress:Port' ? [`${endpoint} ${method}`] : []
  })
  t.strictSame(list, [
    '10.0.2.0:8080 Masq',
    '10.0.2.1:8080 Local',
    '10.0.2.2:8080 Route',
    // ipvsadm has no word for bypass.
    '10.0.2.3:8080 (null)',
  ])
  const thresholds = linesOf(runThere(netns, 'ipvsadm', '-Ln', '--thresholds'))
    .flatMap(line => /^-> (10\S+)\s+(\d+)\s+(\d+)/.exec(line) ?? [])
    .filter(cell => !cell.startsWith('->'))
  t.strictSame(thresholds.slice(0, 6), ['10.0.2.0:8080', '10', '0', '10.0.2.1:8080', '11', '1'])
  const ours = sorted(ipvs.listDestinations(web).map(({ destination }) => destination))
  t.strictSame(
    ours.map(({ forwarding, lowerThreshold = 0 }) => [forwarding.kind, lowerThreshold]),
    methods.map((method, i) => [method, i]),
  )
})

t.test('update changes everything but the id', async t => {
  const { ipvs, netns } = openClient(t)
  const sticky: Service = {
    ...web,
    scheduler: 'sh',
    flags: ['fallback'],
    persistence: { timeoutSeconds: 60, prefixLength: 16 },
  }
  ipvs.createService(sticky)
  ipvs.updateService(web)
  t.strictSame(saveThere(netns), ['-A -t 10.0.0.1:80 -s wlc'], 'flags and persistence are gone')
  ipvs.createDestination(web, {
    ...backend,
    forwarding: { kind, encapsulation: 'gue', port: 6080, flags: ['checksum'] },
    upperThreshold: 9,
  })
  ipvs.updateDestination(web, { ...backend, weight: 0 })
  t.strictSame(saveThere(netns)[1], '-a -t 10.0.0.1:80 -r 10.0.1.1:8080 -m -w 0')
  t.strictSame(ipvs.listDestinations(web)[0]?.destination, { ...backend, weight: 0 })
})

t.test('ensure creates, updates, and lifts a weight of 0', async t => {
  const { ipvs, netns } = openClient(t)
  const lines = ['-A -t 10.0.0.1:80 -s wlc', '-a -t 10.0.0.1:80 -r 10.0.1.1:8080 -m -w 5']
  for (const round of ['created', 'unchanged']) {
    ipvs.ensureService(web)
    ipvs.ensureDestination(web, { ...backend, weight: 5 })
    t.strictSame(saveThere(netns), lines, round)
  }
  ipvs.updateDestination(web, { ...backend, weight: 0 })
  ipvs.ensureService({ ...web, scheduler: 'rr' })
  ipvs.ensureDestination(web, { ...backend, weight: 5 })
  t.strictSame(saveThere(netns), [lines[0]?.replace('wlc', 'rr'), lines[1]])
})

t.test('remove and flush leave nothing', async t => {
  const { ipvs, netns } = openClient(t)
  const ids: readonly ServiceId[] = cases.map(({ service }) => service)
  restoreThere(
    netns,
    cases.flatMap(({ lines }) => lines),
  )
  ipvs.removeDestination(web, { address: 'fd00::9', port: 80 })
  t.notOk(saveThere(netns).some(line => line.includes('fd00::9')))
  for (const id of ids.slice(1)) ipvs.removeService(id)
  t.equal(saveThere(netns).length, 10, 'the first service stays')
  ipvs.flush()
  t.strictSame(saveThere(netns), [])
  t.strictSame(ipvs.listServices(), [])
})

t.test('time-outs are those of ipvsadm, both ways', async t => {
  const { ipvs, netns } = openClient(t)
  t.strictSame(ipvs.getTimeouts(), { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 })
  ipvs.setTimeouts({ tcpSeconds: 901 })
  ipvs.setTimeouts({ tcpFinSeconds: 121, udpSeconds: 301 })
  t.match(runThere(netns, 'ipvsadm', '-Ln', '--timeout'), /: 901 121 301/)
  runThere(netns, 'ipvsadm', '--set', '10', '20', '30')
  t.strictSame(ipvs.getTimeouts(), { tcpSeconds: 10, tcpFinSeconds: 20, udpSeconds: 30 })
})

t.test('sync daemons are those of ipvsadm, both ways', async t => {
  const { ipvs, netns } = openClient(t)
  t.strictSame(ipvs.listDaemons(), [])
  ipvs.startDaemon({
    state: 'master',
    interface: 'lo',
    syncId: 3,
    maxLength: 1000,
    group: '224.0.0.99',
    port: 9999,
    ttl: 5,
  })
  const words = linesOf(runThere(netns, 'ipvsadm', '-Ln', '--daemon')).join('\n')
  t.match(words, /master.*mcast=lo.*syncid=3.*maxlen=1000.*group=224\.0\.0\.99.*port=9999.*ttl=5/)
  runThere(
    netns,
    ...['ipvsadm', '--start-daemon', 'backup', '--mcast-interface', 'lo', '--syncid', '4'],
    ...['--mcast-group', 'ff02::51'],
  )
  const daemons = ipvs.listDaemons()
  t.strictSame(
    daemons.map(daemon => ({ ...daemon, maxLength: 0 })),
    [
      {
        ...{ state: 'master', interface: 'lo', syncId: 3, maxLength: 0 },
        ...{ group: '224.0.0.99', port: 9999, ttl: 5 },
      },
      {
        ...{ state: 'backup', interface: 'lo', syncId: 4, maxLength: 0 },
        ...{ group: 'ff02::51', port: 8848, ttl: 1 },
      },
    ],
  )
  ipvs.stopDaemon('backup')
  ipvs.stopDaemon('master')
  t.strictSame(ipvs.listDaemons(), [])
})

t.test('info is what ipvsadm prints', async t => {
  const netns = openNamespace(t)
  const { ipvs } = openClient(t)
  const { version, connectionTableSize } = ipvs.getInfo()
  t.match(
    runThere(netns, 'ipvsadm', '-Ln'),
    `IP Virtual Server version ${version} (size=${connectionTableSize})`,
  )
})
