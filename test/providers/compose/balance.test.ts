/** Labels `portolan.*` of a service, and `deploy.update_config`. */

import t from 'tap'
import { defaultBalance, type BalanceSpec, type UpdateSpec } from '../../../src/catalog/service.js'
import { problemsOf, serviceOf, webWith } from './parse.js'

function labels(of: Readonly<Record<string, string>>): string {
  const lines = Object.entries(of).map(
    ([key, text]) => `  portolan.${key}: ${JSON.stringify(text)}`,
  )
  return webWith(['labels:', ...lines].join('\n'))
}

t.test('resolveBalance() understands every label', async t => {
  const clientIp = (timeoutSeconds: number) =>
    ({ affinity: { kind: 'client-ip', timeoutSeconds } }) as const
  const rows: readonly (readonly [Readonly<Record<string, string>>, Partial<BalanceSpec>])[] = [
    ...(['rr', 'wrr', 'lc', 'wlc', 'sh', 'mh'] as const).map(
      scheduler => [{ scheduler }, { scheduler }] as const,
    ),
    [{ affinity: 'none' }, { affinity: { kind: 'none' } }],
    [{ affinity: 'client-ip' }, clientIp(10_800)],
    [{ affinity: 'client-ip', 'affinity.timeout': '1m30s' }, clientIp(90)],
    [{ 'affinity.timeout': '10ms', affinity: 'client-ip' }, clientIp(1)],
    [{ weights: '1=3,2=1' }, { weights: { '1': 3, '2': 1 } }],
    [{ weights: ' 10 = 65535 ' }, { weights: { '10': 65_535 } }],
    [{ drain: '30s' }, { drainMs: 30_000 }],
    [{ drain: '0' }, { drainMs: 0 }],
    [{ 'drain.signal': 'first' }, { stopSignalOrder: 'first' }],
    [{ 'drain.signal': 'last' }, { stopSignalOrder: 'last' }],
    [{ panic: 'off' }, { isPanicking: false }],
    [{ panic: 'on' }, { isPanicking: true }],
    [{ 'proxy-protocol': 'v2' }, { proxyProtocol: 'v2' }],
    [{ probe: 'http://:80/ready' }, { probe: { target: 'http://:80/ready' } }],
    [{ 'probe.interval': '2s' }, { probe: { target: 'listen', intervalMs: 2_000 } }],
    [
      { probe: 'none', 'probe.timeout': '500ms', 'probe.fall': '2', 'probe.rise': '9999' },
      { probe: { target: 'none', timeoutMs: 500, fall: 2, rise: 9_999 } },
    ],
  ]
  for (const [given, wanted] of rows) {
    const { balance } = serviceOf(labels(given))
    t.strictSame(balance, { ...defaultBalance, ...wanted }, JSON.stringify(given))
  }
})

t.test('resolveBalance() leaves a service without labels of ours as it is', async t => {
  t.equal(serviceOf(webWith('labels: { team: blue, portolano: x }')).balance, undefined)
  t.equal(serviceOf(webWith('hostname: a')).balance, undefined)
})

t.test('resolveBalance() refuses what means nothing', async t => {
  const duration = (text: string) => `"${text}" is not a duration; write it as 500ms, 10s or 1m30s`
  const weights = (text: string) =>
    `"${text}" is not REPLICA=WEIGHT,... with weights from 1 to 65535`
  const rows: readonly (readonly [Readonly<Record<string, string>>, string, string])[] = [
    [
      { scheduler: 'ip_hash' },
      'scheduler',
      '"ip_hash" is not known; write rr or wrr or lc or wlc or sh or mh',
    ],
    [{ scheduler: '' }, 'scheduler', '"" is not known; write rr or wrr or lc or wlc or sh or mh'],
    [{ affinity: 'cookie' }, 'affinity', '"cookie" is not known; write none or client-ip'],
    [
      { 'affinity.timeout': '1m' },
      'affinity.timeout',
      'means nothing without portolan.affinity: client-ip',
    ],
    [{ affinity: 'client-ip', 'affinity.timeout': 'long' }, 'affinity.timeout', duration('long')],
    [{ weights: '1' }, 'weights', weights('1')],
    [{ weights: '0=1' }, 'weights', weights('0=1')],
    [{ weights: '1=0' }, 'weights', weights('1=0')],
    [{ weights: '1=65536' }, 'weights', weights('1=65536')],
    [{ weights: '1=1,' }, 'weights', weights('1=1,')],
    [{ weights: '__proto__=1' }, 'weights', weights('__proto__=1')],
    [{ drain: '10' }, 'drain', duration('10')],
    [{ drain: '-1s' }, 'drain', duration('-1s')],
    [{ 'drain.signal': 'never' }, 'drain.signal', '"never" is not known; write first or last'],
    [{ panic: 'yes' }, 'panic', '"yes" is not known; write on or off'],
    [{ 'proxy-protocol': 'v1' }, 'proxy-protocol', '"v1" is not known; write v2'],
    [{ 'probe.interval': '' }, 'probe.interval', duration('')],
    [{ 'probe.timeout': 'x' }, 'probe.timeout', duration('x')],
    [{ 'probe.fall': '0' }, 'probe.fall', '"0" is not a number from 1 to 9999'],
    [{ 'probe.rise': '10000' }, 'probe.rise', '"10000" is not a number from 1 to 9999'],
    [{ shceduler: 'rr' }, 'shceduler', 'is no label of ours; did you mean "scheduler"?'],
    [{ constructor: 'x' }, 'constructor', 'is no label of ours'],
    [{ '': 'x' }, '', 'is no label of ours'],
  ]
  for (const [given, key, wanted] of rows) {
    const problems = problemsOf(labels(given))
    t.equal(problems.length, 1, JSON.stringify(given))
    const [problem = ''] = problems
    const text = problem.replace(/^shop\.yaml:\d+: /, '')
    t.equal(text, `services.web.labels.portolan.${key}: ${wanted}`)
  }
})

t.test('a service has a virtual address unless it can have one replica only', async t => {
  const rows: readonly (readonly [string, 'vip' | 'dnsrr'])[] = [
    ['hostname: a', 'vip'],
    ['scale: 0', 'vip'],
    ['deploy: { endpoint_mode: vip }', 'vip'],
    ['deploy: { endpoint_mode: dnsrr }', 'dnsrr'],
    ['container_name: one', 'dnsrr'],
    ['container_name: one\ndeploy: { endpoint_mode: vip }', 'vip'],
    ['networks: { default: { ipv4_address: 10.1.0.9 } }', 'dnsrr'],
    ['networks: { default: { aliases: [a] } }', 'vip'],
  ]
  const rest = 'networks: { default: { ipam: { config: [{ subnet: 10.1.0.0/24 }] } } }\n'
  for (const [lines, mode] of rows) {
    t.equal(serviceOf(webWith(lines, rest)).endpointMode, mode, lines)
  }
})

t.test('update_config says how replicas are replaced', async t => {
  const rows: readonly (readonly [string, UpdateSpec | undefined])[] = [
    ['{ replicas: 2 }', undefined],
    ['{ update_config: {} }', { order: 'stop-first', parallelism: 1, delayMs: 0 }],
    [
      '{ update_config: { order: start-first, parallelism: 0, delay: 5s } }',
      { order: 'start-first', parallelism: 0, delayMs: 5_000 },
    ],
    ['{ update_config: { parallelism: 3 } }', { order: 'stop-first', parallelism: 3, delayMs: 0 }],
  ]
  for (const [text, wanted] of rows) {
    t.strictSame(serviceOf(webWith(`deploy: ${text}`)).update, wanted, text)
  }
})

t.test('update_config refuses what is not one', async t => {
  const rows = [
    ['{ order: both }', /update_config\.order/],
    ['{ parallelism: -1 }', /update_config\.parallelism/],
    ['{ delay: soon }', /update_config\.delay/],
  ] as const
  for (const [text, wanted] of rows) {
    const problems = problemsOf(webWith(`deploy: { update_config: ${text} }`))
    t.equal(problems.length, 1, text)
    t.match(problems[0], wanted)
  }
})
