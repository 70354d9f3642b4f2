import fc from 'fast-check'
import t from 'tap'
import { HealthError } from '../../../mesh/health/error.js'
import { parseDuration, parseProbe } from '../../../mesh/health/parse.js'
import { DEFAULT_TIMING, timingOf } from '../../../mesh/health/probe.js'

for (const [text, expected] of [
  ['none', undefined],
  ['tcp://:80', { kind: 'tcp', port: 80 }],
  [' tcp://:65535/ ', { kind: 'tcp', port: 65_535 }],
  ['http://:8080/healthz', { kind: 'http', port: 8080, path: '/healthz' }],
  ['http://:8080', { kind: 'http', port: 8080, path: '/' }],
  ['http:///ready?deep=1', { kind: 'http', port: 80, path: '/ready?deep=1' }],
  ['http://shop.example/', { kind: 'http', port: 80, path: '/', host: 'shop.example' }],
  ['http://[::1]:81/', { kind: 'http', port: 81, path: '/', host: '[::1]:81' }],
  [
    'https://shop.example:8443/live',
    { kind: 'http', port: 8443, path: '/live', host: 'shop.example:8443', isTls: true },
  ],
  ['https:///', { kind: 'http', port: 443, path: '/', isTls: true }],
  ['cmd:curl -f localhost', { kind: 'command', argv: ['curl', '-f', 'localhost'] }],
  [
    `cmd: sh -c 'test -f "/tmp/a b"' x"y z"`,
    { kind: 'command', argv: ['sh', '-c', 'test -f "/tmp/a b"', 'xy z'] },
  ],
] as const) {
  t.test(`parseProbe(${JSON.stringify(text)})`, async t => {
    t.strictSame(parseProbe(text), expected)
  })
}

for (const [text, advice] of [
  ['', 'write tcp://:PORT'],
  ['80', 'write tcp://:PORT'],
  ['udp://:53', 'or none'],
  ['tcp://:0', 'give a port from 1 to 65535'],
  ['tcp://:65536', 'give a port from 1 to 65535'],
  ['tcp://10.0.0.1:80', 'such as tcp://:5432'],
  ['http://:8080/a b', 'such as http://:8080/healthz'],
  ['http://user@host/', 'such as http://:8080/healthz'],
  ['http://:8080/#top', 'such as http://:8080/healthz'],
  ['http://:0/', 'give a port from 1 to 65535'],
  ['cmd:', 'name a command'],
  [`cmd:sh -c 'oops`, 'close the quote'],
] as const) {
  t.test(`parseProbe(${JSON.stringify(text)}) says what to write instead`, async t => {
    t.throws(() => parseProbe(text), { name: 'HealthError', code: 'HEALTH_BAD_PROBE' })
    try {
      parseProbe(text)
    } catch (error) {
      t.ok(String(error).includes(`"${text}" is not a readiness probe`), String(error))
      t.ok(String(error).includes(advice), String(error))
    }
  })
}

t.test('parseProbe() and parseDuration() throw nothing but HealthError, on any text', async t => {
  const start = fc.constantFrom('', 'tcp://', 'http://', 'https://:', 'cmd:', 'tcp://:')
  fc.assert(
    fc.property(start, fc.string({ unit: 'binary-ascii' }), (start, rest) => {
      for (const parse of [parseProbe, parseDuration]) {
        try {
          parse(start + rest)
        } catch (error) {
          if (!(error instanceof HealthError)) return false
        }
      }
      return true
    }),
  )
  t.pass()
})

for (const [text, expected] of [
  ['500ms', 500],
  ['2s', 2000],
  [' 1m30s ', 90_000],
  ['1.5s', 1500],
  ['0.4ms', 1],
  ['1h', 3_600_000],
] as const) {
  t.test(`parseDuration("${text}") is ${expected} ms`, async t => {
    t.equal(parseDuration(text), expected)
  })
}

for (const text of ['', '5', 's', '-1s', '1 s', '2d', '1e3s', '9999999h', '1sx']) {
  t.test(`parseDuration("${text}") says what to write instead`, async t => {
    t.throws(() => parseDuration(text), {
      code: 'HEALTH_BAD_PROBE',
      message: `"${text}" is not a duration of a probe; write it as 500ms, 2s or 1m30s`,
    })
  })
}

t.test('timingOf() fills in the defaults', async t => {
  t.strictSame(timingOf({ fall: 3 }), { ...DEFAULT_TIMING, fall: 3 })
})

for (const timing of [
  { intervalMs: 0 },
  { intervalMs: 2 ** 31 },
  { fall: 0 },
  { rise: 1.5 },
  { timeoutMs: NaN },
]) {
  t.test(`timingOf(${JSON.stringify(timing)}) is refused`, async t => {
    const [name] = Object.keys(timing)
    t.throws(() => timingOf(timing), {
      code: 'HEALTH_BAD_PROBE',
      message: new RegExp(`cannot have ${name} .*give a whole number from \\d+ to \\d+$`),
    })
  })
}
