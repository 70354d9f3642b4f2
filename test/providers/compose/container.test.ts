/** What each replica runs, from every form a Compose file can say it in. */

import t from 'tap'
import type { ContainerSpec } from '../../../src/catalog/service.js'
import type { ParseOptions } from '../../../src/providers/compose/project.js'
import { parse, serviceOf, webWith } from './parse.js'

interface Row {
  readonly name: string
  /** Lines of service `web`. */
  readonly lines: string
  readonly options?: Partial<ParseOptions>
  readonly expected: Partial<ContainerSpec>
}

const surroundings = { environment: { TAG: 'v1', EMPTY: '', HOME: '/root' } }

const rows: readonly Row[] = [
  {
    name: 'environment as a mapping',
    lines: "environment: { A: b, N: 1.10, T: true, E: '', HOME: , NOWHERE: }",
    options: surroundings,
    expected: { environment: { A: 'b', N: '1.10', T: 'true', E: '', HOME: '/root' } },
  },
  {
    name: 'environment as a list',
    lines: 'environment: [A=b=c, E=, HOME, NOWHERE, A=d]',
    options: surroundings,
    expected: { environment: { A: 'd', E: '', HOME: '/root' } },
  },
  {
    name: 'interpolation',
    lines: [
      'environment:',
      '  - A=$TAG-${TAG}-$$TAG',
      '  - B=${EMPTY:-d}${EMPTY-d}${NONE:-d}${NONE-${TAG}}',
      '  - C=${TAG:+x}${EMPTY:+x}${EMPTY+x}${NONE+x}',
      '  - D=${TAG:?no}${TAG?no}${EMPTY?no}',
    ].join('\n'),
    options: surroundings,
    expected: { environment: { A: 'v1-v1-$TAG', B: 'ddv1', C: 'xx', D: 'v1v1' } },
  },
  {
    name: 'a relative working_dir, beside the file',
    lines: 'working_dir: ./data',
    expected: { workingDirectory: '/srv/demo/data' },
  },
  {
    name: 'an absolute working_dir',
    lines: 'working_dir: /var/lib',
    expected: { workingDirectory: '/var/lib' },
  },
  {
    name: 'names',
    lines: 'hostname: host-1\ndomainname: example.test',
    expected: { hostname: 'host-1', domainname: 'example.test' },
  },
  {
    name: 'dns settings, single',
    lines: 'dns: 10.0.0.53\ndns_search: example.test',
    expected: { dns: ['10.0.0.53'], dnsSearch: ['example.test'] },
  },
  {
    name: 'dns settings, lists',
    lines: "dns: [10.0.0.53, 'fd00::53']\ndns_search: [a.test, .]\ndns_opt: ['ndots:2', rotate]",
    expected: {
      dns: ['10.0.0.53', 'fd00::53'],
      dnsSearch: ['a.test', '.'],
      dnsOptions: ['ndots:2', 'rotate'],
    },
  },
  {
    name: 'extra_hosts as a list',
    lines: "extra_hosts: ['a:10.0.0.1', b=10.0.0.2, 'c:::1', 'd=[fd00::1]', h=host-gateway]",
    expected: {
      extraHosts: [
        { name: 'a', address: '10.0.0.1' },
        { name: 'b', address: '10.0.0.2' },
        { name: 'c', address: '::1' },
        { name: 'd', address: 'fd00::1' },
        { name: 'h', address: 'host-gateway' },
      ],
    },
  },
  {
    name: 'extra_hosts as a mapping',
    lines: "extra_hosts: { a: 10.0.0.1, b: [10.0.0.2, 'fd00::2'] }",
    expected: {
      extraHosts: [
        { name: 'a', address: '10.0.0.1' },
        { name: 'b', address: '10.0.0.2' },
        { name: 'b', address: 'fd00::2' },
      ],
    },
  },
  {
    name: 'links to services and to containers',
    lines: "links: [db, 'db:database']\nexternal_links: ['other-db-1:legacy']",
    expected: {
      links: [
        { target: 'db', alias: 'db', isExternal: false },
        { target: 'db', alias: 'database', isExternal: false },
        { target: 'other-db-1', alias: 'legacy', isExternal: true },
      ],
    },
  },
  {
    name: 'a healthcheck with defaults',
    lines: 'healthcheck: { test: curl -f localhost }',
    expected: {
      healthcheck: {
        argv: ['/bin/sh', '-c', 'curl -f localhost'],
        intervalMs: 30_000,
        timeoutMs: 30_000,
        retries: 3,
        startPeriodMs: 0,
        startIntervalMs: 5_000,
      },
    },
  },
  {
    name: 'a healthcheck with everything',
    lines:
      'healthcheck: { test: [CMD, curl], interval: 1m30s, timeout: 1.5s, retries: "2", start_period: 1h, start_interval: 250ms }',
    expected: {
      healthcheck: {
        argv: ['curl'],
        intervalMs: 90_000,
        timeoutMs: 1_500,
        retries: 2,
        startPeriodMs: 3_600_000,
        startIntervalMs: 250,
      },
    },
  },
  {
    name: 'on-failure with a bound',
    lines: 'restart: on-failure:3',
    expected: { restart: { condition: 'on-failure', maxRetries: 3 } },
  },
  { name: 'a quoted no', lines: "restart: 'no'", expected: { restart: { condition: 'no' } } },
  {
    name: 'a restart policy of deploy',
    lines: 'deploy: { restart_policy: { condition: on-failure, max_attempts: 4 } }',
    expected: { restart: { condition: 'on-failure', maxRetries: 4 } },
  },
  {
    name: 'a restart policy of deploy without a condition',
    lines: 'deploy: { restart_policy: {} }',
    expected: { restart: { condition: 'always' } },
  },
  {
    name: 'restart rather than the policy of deploy',
    lines: 'restart: unless-stopped\ndeploy: { restart_policy: { condition: any } }',
    expected: { restart: { condition: 'unless-stopped' } },
  },
  {
    name: 'a stop signal by number',
    lines: 'stop_signal: 2\nstop_grace_period: 1m',
    expected: { stopSignal: 'SIGINT', stopGraceMs: 60_000 },
  },
  {
    name: 'a stop signal without SIG',
    lines: 'stop_signal: quit',
    expected: { stopSignal: 'SIGQUIT' },
  },
  {
    name: 'labels as a list',
    lines: 'labels: [a=b, c]',
    expected: { labels: { a: 'b', c: '' } },
  },
  {
    name: 'labels as a mapping',
    lines: 'labels: { a: 1, c: }',
    expected: { labels: { a: '1', c: '' } },
  },
  {
    name: 'a shared stack',
    lines: 'network_mode: service:db',
    expected: { networkMode: { kind: 'service', service: 'db' } },
  },
  {
    name: "another project's stack",
    lines: 'network_mode: container:other-1',
    expected: { networkMode: { kind: 'container', container: 'other-1' } },
  },
  { name: 'no stack', lines: 'network_mode: none', expected: { networkMode: { kind: 'none' } } },
  {
    name: 'the host stack',
    lines: 'network_mode: host',
    expected: { networkMode: { kind: 'host' } },
  },
]

t.test('resolveContainer() understands', async t => {
  for (const { name, lines, options, expected } of rows) {
    const { container } = serviceOf(webWith(lines, '  db: { command: store }\n'), options)
    const chosen = Object.entries(container).filter(([key]) => key in expected)
    t.strictSame(Object.fromEntries(chosen), expected, name)
  }
})

t.test('resolveContainer() runs the entrypoint followed by the command', async t => {
  const table: readonly [string, readonly string[]][] = [
    ['command: echo "a b" c\\ d \'e"f\'', ['echo', 'a b', 'c d', 'e"f']],
    ['command: [echo, a b, 1]', ['echo', 'a b', '1']],
    ['{ entrypoint: sh -c, command: [exit 0] }', ['sh', '-c', 'exit 0']],
    ['{ entrypoint: [serve], command: }', ['serve']],
    ['{ entrypoint: [], command: serve }', ['serve']],
    ["{ entrypoint: '', command: serve }", ['serve']],
  ]
  for (const [body, argv] of table) {
    t.strictSame(serviceOf(`services:\n  web:\n    ${body}\n`).container.argv, argv, body)
  }
})

t.test('resolveContainer() warns of shell operators that no shell sees', async t => {
  t.strictSame(parse('services:\n  web:\n    command: a | b\n').warnings, [
    'shop.yaml:3: services.web.command: "|" means nothing without a shell; use one with ["sh", "-c", "…"]',
  ])
  t.strictSame(parse('services: { web: { command: "a \'|\'" } }').warnings, [])
})

t.test('resolveContainer() has no healthcheck where one is disabled', async t => {
  const forms = ['{ disable: true }', '{ test: [NONE] }', '{ test: curl, disable: "true" }']
  for (const form of forms) {
    t.equal(serviceOf(webWith(`healthcheck: ${form}`)).container.healthcheck, undefined, form)
  }
})

t.test('resolveEnvironment() reads env files, and lets environment win', async t => {
  const files: Readonly<Record<string, string>> = {
    '/srv/demo/a.env': 'A=1\nB=2 # two\nHOME\nGONE\n',
    '/etc/b.env': 'B="x$A"\nC=\'$A\'\n',
    '/srv/demo/raw.env': 'D="$A" # all of it\n',
  }
  const lines = `env_file:
  - a.env
  - path: /etc/b.env
  - { path: ./raw.env, format: raw }
  - { path: none.env, required: false }
environment: { A: 9, GONE: }`
  const web = serviceOf(webWith(lines), { ...surroundings, readFile: path => files[path] })
  t.strictSame(web.container.environment, {
    A: '9',
    B: 'x1',
    HOME: '/root',
    C: '$A',
    D: '"$A" # all of it',
  })
})

t.test('interpolate() warns once of a variable that is not set', async t => {
  t.strictSame(parse(webWith('hostname: a$NONE\ndomainname: b${NONE}')).warnings, [
    'the variable "NONE" is not set; an empty text stands in for it',
  ])
})
