/** Whatever stands in the files, parseProject() gives a project or a ComposeError, the same each time. */

import fc from 'fast-check'
import t from 'tap'
import { stringify } from 'yaml'
import { ComposeError } from '../../../src/providers/compose/error.js'
import { parseProject } from '../../../src/providers/compose/project.js'
import {
  attachmentSchema,
  deploySchema,
  healthcheckSchema,
  networkSchema,
  portSchema,
  serviceSchema,
  subnetSchema,
} from '../../../src/providers/compose/schema.js'

const RUNS = { numRuns: 400 }

/** The outcome as data; anything thrown but a ComposeError goes through. */
function outcome(texts: readonly string[]): unknown {
  const files = texts.map((text, i) => ({ path: `${i}.yaml`, text }))
  try {
    return parseProject({ files, environment: { A: 'b' }, projectDirectory: '/srv/demo' })
  } catch (error) {
    if (error instanceof ComposeError && error.problems.length > 0) return error.problems
    throw error
  }
}

function holds(texts: readonly string[]): void {
  const first = JSON.stringify(outcome(texts))
  if (first !== JSON.stringify(outcome(texts))) throw new Error('the second parse differs')
}

const values = [
  'x',
  '',
  'a b',
  '-1',
  '0',
  '3',
  '80:80',
  '1-65535',
  '10.0.1.0/24',
  '10.0.1.5',
  'fd00::/64',
  '$A',
  '${B:-${A}}',
  '${',
  '1m',
  'host',
  'service:a',
  'container:b',
  'on-failure:9',
  'CMD',
  'a=b',
  'a:b',
  'constructor',
  'a',
  'b',
  'default',
  '127.0.0.1:80:80/udp',
  'x'.repeat(80),
  '*.a',
  'NONE',
  "'",
  'a | b',
  'no',
  'host-gateway',
]

const leaf = fc.oneof(
  fc.constantFrom(...values),
  fc.constantFrom(0, 1, 2, 80, -1, 1.5, true, false, null),
  fc.string({ maxLength: 8 }),
)

/** Mostly values of the right kind at known keys, so that the later stages are reached as well. */
const anything: fc.Arbitrary<unknown> = fc.letrec(tie => ({
  value: fc.oneof(
    { depthSize: 'small' },
    { weight: 4, arbitrary: leaf },
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(
      fc.constantFrom('a', 'b', 'test', 'target', 'front', '__proto__', 'x-y'),
      tie('value'),
      { maxKeys: 3 },
    ),
  ),
})).value

function some(
  shape: object,
  known: Record<string, fc.Arbitrary<unknown>> = {},
): fc.Arbitrary<unknown> {
  const fields = Object.keys(shape).map(key => [
    key,
    fc.oneof(
      { weight: 3, arbitrary: known[key] ?? leaf },
      leaf,
      fc.array(leaf, { maxLength: 2 }),
      anything,
    ),
  ])
  return fc.record(Object.fromEntries(fields), { requiredKeys: [] })
}

const names = fc.constantFrom('a', 'b', 'front', 'default', 'constructor')
const lists = fc.array(leaf, { maxLength: 3 })
const service = some(serviceSchema.shape, {
  command: fc.constant('serve'),
  networks: fc.dictionary(names, some(attachmentSchema.shape, { aliases: lists }), { maxKeys: 2 }),
  ports: fc.array(fc.oneof(leaf, some(portSchema.shape)), { maxLength: 3 }),
  healthcheck: some(healthcheckSchema.shape, { test: lists }),
  deploy: some(deploySchema.shape),
  depends_on: fc.uniqueArray(names),
  environment: fc.dictionary(fc.string({ maxLength: 4 }), leaf, { maxKeys: 3 }),
})
const network = some(networkSchema.shape, {
  ipam: fc.record({ config: fc.array(some(subnetSchema.shape), { maxLength: 2 }) }),
})
const project = fc.record(
  {
    name: leaf,
    services: fc.dictionary(names, service, { maxKeys: 3 }),
    networks: fc.dictionary(names, network, { maxKeys: 3 }),
  },
  { requiredKeys: ['services'] },
)

t.test('parseProject() survives values of every kind at every key', async () => {
  fc.assert(
    fc.property(fc.array(project, { minLength: 1, maxLength: 2 }), files => {
      holds(files.map(file => JSON.stringify(file)))
    }),
    RUNS,
  )
})

t.test('parseProject() survives any JSON and any YAML', async () => {
  fc.assert(
    fc.property(fc.json(), text => holds([text])),
    RUNS,
  )
  fc.assert(
    fc.property(fc.jsonValue(), value => holds([stringify({ services: value })])),
    RUNS,
  )
})

t.test('parseProject() survives any text', async () => {
  const piece = fc.constantFrom(
    'services:',
    'web:',
    'command:',
    '\n',
    '\n  ',
    '\n    ',
    ' ',
    '- ',
    ': ',
    '{',
    '}',
    '[',
    ']',
    '&a ',
    '*a',
    '<<: ',
    '!reset ',
    '!override ',
    '!x ',
    '"',
    "'",
    '|',
    '>',
    '#',
    '---\n',
    '...\n',
    '? ',
    '%YAML 1.1\n',
    '\t',
    '$A',
    '${',
    '\0',
    '\uFEFF',
  )
  const text = fc.array(fc.oneof({ weight: 4, arbitrary: piece }, fc.string({ maxLength: 3 })), {
    maxLength: 40,
  })
  fc.assert(
    fc.property(text, pieces => holds([pieces.join('')])),
    { numRuns: 1500 },
  )
})

t.test('parseProject() ends soon on files made to keep it busy', async t => {
  const laughs = Array.from({ length: 12 }, (_, i) => {
    const below = i === 0 ? 'x' : `*a${i - 1}`
    return `x-${i}: &a${i} [${Array(9).fill(below).join(', ')}]`
  })
  const rows: readonly [string, string, RegExp][] = [
    ['aliases of aliases', `${laughs.join('\n')}\nservices: {}\n`, /more than 100000 values/],
    ['brackets', '['.repeat(50_000), /not valid YAML/],
    ['nested mappings', `${'{a: '.repeat(200)}1${'}'.repeat(200)}`, /nested more than 64 levels/],
    [
      'nested variables',
      `services: { a: { command: "${'${A:-'.repeat(5000)}x${'}'.repeat(5000)}" } }`,
      /./,
    ],
    [
      'unset variables in variables',
      `services: { a: { command: "${'${Z:-'.repeat(5000)}x${'}'.repeat(5000)}" } }`,
      /is not a variable/,
    ],
    [
      'ports',
      `services: { a: { command: x, ports: [${Array.from({ length: 300 }, (_, i) => `"127.0.${i >> 8}.${i & 255}:1-65535:1-65535"`).join()}] } }`,
      /makes more than 65536 ports/,
    ],
    [
      'a chain of extends',
      `services:\n${Array.from({ length: 5000 }, (_, i) => `  s${i}: { extends: s${i + 1}, command: x }`).join('\n')}`,
      /more than 100 services/,
    ],
  ]
  for (const [name, text, expected] of rows) {
    const start = process.hrtime.bigint()
    t.match(JSON.stringify(outcome([text])), expected, name)
    t.ok(process.hrtime.bigint() - start < 10_000_000_000n, `${name}: within 10 s`)
  }
})
