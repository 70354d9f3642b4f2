/** Whole files: what a project comes to, its name, its profiles, and how files merge. */

import { readdirSync, readFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { ServiceSpec } from '../../../src/catalog/service.js'
import { parse, problemsOf, serviceOf, webWith } from './parse.js'

/** The nearest folder above this file that holds the examples, compiled or not. */
function examplesFolder(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    try {
      readdirSync(join(folder, 'examples'))
      return join(folder, 'examples')
    } catch (error) {
      if (folder === dirname(folder)) throw error
    }
  }
}

t.test('parseProject() fills in every default of the smallest file', async t => {
  const service: ServiceSpec = {
    name: 'web',
    replicas: 1,
    endpointMode: 'vip',
    container: {
      argv: ['sleep', '1'],
      environment: {},
      networkMode: { kind: 'networks' },
      dns: [],
      dnsSearch: [],
      dnsOptions: [],
      extraHosts: [],
      links: [],
      restart: { condition: 'no' },
      stopSignal: 'SIGTERM',
      stopGraceMs: 10_000,
      labels: {},
    },
    attachments: [{ network: 'demo_default', aliases: [], gatewayPriority: 0 }],
    dependsOn: [],
    ports: [],
  }
  t.strictSame(parse('services: { web: { command: sleep 1 } }'), {
    project: {
      name: 'demo',
      networks: [
        {
          key: 'default',
          isExternal: false,
          spec: {
            name: 'demo_default',
            driver: 'bridge',
            options: {},
            subnets: [],
            hasIpv4: true,
            hasIpv6: false,
            isInternal: false,
            isAttachable: false,
            labels: {},
          },
        },
      ],
      services: [service],
    },
    warnings: [],
  })
})

t.test('parseProject() names the project', async t => {
  const file = 'services: { web: { command: serve } }'
  const rows: readonly [string, string, Parameters<typeof parse>[1], string][] = [
    ['after its directory', file, { projectDirectory: '/srv/My Shop.2' }, 'myshop2'],
    ['after a directory that begins with _', file, { projectDirectory: '/srv/_-x' }, 'x'],
    ['as name says', `name: fine\n${file}`, {}, 'fine'],
    ['as name says with a variable', `name: $N\n${file}`, { environment: { N: 'n1' } }, 'n1'],
    [
      'as COMPOSE_PROJECT_NAME says rather than name',
      `name: fine\n${file}`,
      { environment: { COMPOSE_PROJECT_NAME: 'env' } },
      'env',
    ],
    [
      'as -p says rather than COMPOSE_PROJECT_NAME',
      file,
      { projectName: 'p', environment: { COMPOSE_PROJECT_NAME: 'env' } },
      'p',
    ],
  ]
  for (const [name, text, options, expected] of rows) {
    t.equal(parse(text, options).project.name, expected, name)
  }
  t.strictSame(problemsOf(file, { projectName: 'Shop' }), [
    '"Shop" is not a project name; use lower case letters, digits, "-" and "_", ' +
      'and begin with a letter or digit',
  ])
  t.strictSame(problemsOf(file, { projectDirectory: '/' }), [
    'no project name can be made of the directory "/"; give one with -p or as name:',
  ])
  t.equal(
    serviceOf('services: { web: { command: "$COMPOSE_PROJECT_NAME" } }').container.argv[0],
    'demo',
  )
})

t.test('parseProject() leaves out services whose profiles are not enabled', async t => {
  const file = `services:
  web: { command: serve }
  debug: { command: trace, profiles: [dev, test] }`
  const names = (options: Parameters<typeof parse>[1]) =>
    parse(file, options).project.services.map(service => service.name)
  t.strictSame(names({}), ['web'])
  t.strictSame(names({ profiles: ['test'] }), ['web', 'debug'])
  t.strictSame(names({ environment: { COMPOSE_PROFILES: 'x,dev' } }), ['web', 'debug'])
  t.strictSame(names({ profiles: ['*'] }), ['web', 'debug'])
  const optional = `services:
  web: { command: serve, depends_on: { debug: { condition: service_started, required: false } } }
  debug: { command: trace, profiles: [dev] }`
  t.strictSame(parse(optional).warnings, [
    'shop.yaml:2: services.web.depends_on.debug: service "debug" is left out, because none of its ' +
      'profiles is enabled; "web" does without it',
  ])
})

t.test('parseProject() lays a later file over an earlier one', async t => {
  const base = `
services:
  web:
    command: [serve, --slow]
    environment: { A: '1', B: '2' }
    dns: 10.0.0.53
    ports: ['8080:80']
    labels: [x=1]
    networks: [front]
    healthcheck: { test: [CMD, check], interval: 9s }
networks: { front: { driver_opts: { a: 1 } } }`
  const over = `
services:
  web:
    command: serve --fast
    environment: [B=3, C=4]
    dns: [10.0.0.54, 10.0.0.53]
    ports: ['8443:443']
    labels: { y: 2 }
    networks: { front: { aliases: [www] }, back: }
    healthcheck: { test: [CMD, other] }
  job: { command: work }
networks: { front: { internal: true }, back: }`
  const { project } = parse([base, over])
  const web = project.services.find(service => service.name === 'web')
  t.strictSame(web?.container.argv, ['serve', '--fast'], 'a command is replaced')
  t.strictSame(web?.container.environment, { A: '1', B: '3', C: '4' }, 'mappings merge')
  t.strictSame(web?.container.dns, ['10.0.0.53', '10.0.0.54'], 'lists are appended, once each')
  t.strictSame(web?.container.labels, { x: '1', y: '2' }, 'whichever form each file uses')
  t.strictSame(
    web?.ports.map(port => port.published),
    [8080, 8443],
  )
  t.strictSame(web?.container.healthcheck?.argv, ['other'], 'so is a test')
  t.equal(web?.container.healthcheck?.intervalMs, 9000)
  t.strictSame(
    web?.attachments.map(({ network, aliases }) => [network, aliases]),
    [
      ['demo_back', []],
      ['demo_front', ['www']],
    ],
  )
  t.match(project.networks, [
    { key: 'default' },
    { key: 'front', spec: { options: { a: '1' }, isInternal: true } },
    { key: 'back' },
  ])
})

t.test('parseProject() obeys !reset and !override', async t => {
  const base = `services:
  web:
    command: serve
    environment: { A: '1', B: '2' }
    ports: ['8080:80']
    dns: [10.0.0.53]
    hostname: one
    domainname: two
  old: { command: work }`
  const over = `services:
  web:
    environment: { A: !reset null }
    ports: !reset []
    dns: !override [10.0.0.54]
    hostname: !reset null
    domainname: !override null
    scale: !override 2
  old: !reset null`
  const { project } = parse([base, over])
  t.strictSame(
    project.services.map(service => service.name),
    ['web'],
  )
  const [web] = project.services
  t.strictSame(web?.container.environment, { B: '2' })
  t.strictSame(web?.ports, [])
  t.strictSame(web?.container.dns, ['10.0.0.54'])
  t.equal(web?.container.hostname, undefined)
  t.equal(web?.container.domainname, undefined)
  t.equal(web?.replicas, 2)
  t.strictSame(
    problemsOf([
      'services: { web: { command: serve } }',
      'services: { web: { command: !reset x } }',
    ]),
    ['shop.yaml:1: services.web: needs a command, because Portolan runs host programs, not images'],
  )
})

t.test('parseProject() says where files do not fit together', async t => {
  t.strictSame(
    problemsOf([webWith('dns_opt: [rotate]'), 'services:\n  web:\n    dns_opt: rotate\n']),
    [
      'override.yaml:3: services.web.dns_opt: a single value cannot be merged with the list at shop.yaml:4',
      'override.yaml:3: services.web.dns_opt: must be a list of strings',
    ],
  )
})

t.test('parseProject() follows anchors, aliases, merge keys and extensions', async t => {
  const file = `
x-common: &common
  restart: always
  environment: &environment { A: '1' }
services:
  web:
    <<: *common
    command: serve
  job:
    command: work
    <<: [{ restart: 'no' }, *common]
    environment:
      <<: *environment
      B: '2'
    x-note: { anything: [goes] }`
  const { project, warnings } = parse(file)
  t.strictSame(
    project.services.map(({ container }) => [container.restart.condition, container.environment]),
    [
      ['always', { A: '1' }],
      ['no', { B: '2', A: '1' }],
    ],
  )
  t.strictSame(warnings, [])
})

t.test('parseProject() carries out extends within a file', async t => {
  const file = `services:
  base: { command: serve, environment: { A: '1', B: '2' }, dns: [10.0.0.53] }
  middle: { extends: base, environment: [B=3] }
  web: { extends: { service: middle }, dns: [10.0.0.54] }`
  const web = serviceOf(file)
  t.strictSame(web.container.environment, { A: '1', B: '3' })
  t.strictSame(web.container.dns, ['10.0.0.53', '10.0.0.54'])
  t.strictSame(web.container.argv, ['serve'])
})

t.test('parseProject() names each key without a meaning once', async t => {
  const file = `version: '3'
services:
  web: { image: nginx, command: serve, volumes: ['/a:/a'], deploy: { labels: { a: b }, resources: } }
  api: { image: node, command: serve, ports: [{ target: 80, app_protocol: http }] }
  job: { command: work, networks: { front: { link_local_ips: [169.254.8.8] } } }
networks: { front: { ipam: { options: { a: b } } } }
volumes: { data: }`
  const end = 'has no meaning here: Portolan runs host programs'
  t.strictSame(parse(file).warnings, [
    `"version" ${end}`,
    `"image" of web, api ${end}`,
    `"volumes" of web ${end}`,
    `"deploy.labels" of web ${end}`,
    `"deploy.resources" of web ${end}`,
    `"ports.app_protocol" of api ${end}`,
    `"networks.link_local_ips" of job ${end}`,
    `"ipam.options" of network front ${end}`,
  ])
})

t.test('parseProject() puts services after those they depend on', async t => {
  const file = `services:
  web: { command: serve, depends_on: [api] }
  side: { command: serve, network_mode: 'service:web' }
  api: { command: serve, links: ['db:database'] }
  db: { command: serve }`
  t.strictSame(
    parse(file).project.services.map(({ name, dependsOn }) => [
      name,
      dependsOn.map(d => d.service),
    ]),
    [
      ['db', []],
      ['api', ['db']],
      ['web', ['api']],
      ['side', ['web']],
    ],
  )
})

t.test('parseProject() merges the documents of one file', async t => {
  t.equal(
    serviceOf(`${webWith('hostname: one')}---\nservices: { web: { hostname: two } }`).container
      .hostname,
    'two',
  )
})

t.test('parseProject() gives the same for the same input', async t => {
  for (const name of readdirSync(examplesFolder()).filter(file => file.endsWith('.yaml'))) {
    const text = readFileSync(join(examplesFolder(), name), 'utf8')
    t.strictSame(parse(text), parse(text), name)
  }
})

t.test(
  'examples: every file is accepted without a warning, its scripts are JavaScript',
  async t => {
    for (const name of readdirSync(examplesFolder()).filter(file => file.endsWith('.yaml'))) {
      const { project, warnings } = parse(readFileSync(join(examplesFolder(), name), 'utf8'))
      t.strictSame(warnings, [], name)
      for (const { name: service, container } of project.services) {
        const commands = [container.argv, container.healthcheck?.argv ?? []]
        for (const [program, option, script] of commands) {
          if (program !== 'node' || option !== '-e' || script === undefined) continue
          const check = spawnSync(process.execPath, ['--check', '-'], { input: script })
          t.equal(check.status, 0, `${name}: the script of ${service}`)
        }
      }
    }
  },
)

t.test('examples: shop.yaml is the shop that npm start shows', async t => {
  const { project } = parse(readFileSync(join(examplesFolder(), 'shop.yaml'), 'utf8'))
  t.equal(project.name, 'shop')
  t.strictSame(
    project.services.map(service => [
      service.name,
      service.replicas,
      service.attachments.map(attachment => [attachment.network, attachment.aliases]),
    ]),
    [
      ['db', 1, [['shop_back', []]]],
      [
        'api',
        1,
        [
          ['shop_back', []],
          ['shop_front', []],
        ],
      ],
      ['web', 3, [['shop_front', ['www']]]],
    ],
  )
  t.strictSame(project.services[2]?.ports, [
    { target: 80, published: 8080, isPublished: true, protocol: 'tcp', mode: 'ingress' },
  ])
  t.strictSame(
    project.networks.map(network => [network.spec.name, network.spec.isInternal]),
    [
      ['shop_front', false],
      ['shop_back', true],
    ],
  )
})
