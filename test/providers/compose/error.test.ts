/** What a user is told of a file that cannot be brought up: the exact sentences. */

import t from 'tap'
import { ComposeError } from '../../../src/providers/compose/error.js'
import { frontWith, parse, problemsOf, webWith } from './parse.js'

const NAME_RULE = 'use letters, digits, "-", "_" and ".", and begin with a letter, a digit or "_"'
const NO_COMMAND = 'needs a command, because Portolan runs host programs, not images'
const front =
  'networks: { front: { ipam: { config: [{ subnet: 10.0.1.0/24, gateway: 10.0.1.1 }] } } }\n'
const long = 'a'.repeat(70)

/** Each text, and its problems without `shop.yaml:`. */
type Table = readonly (readonly [text: string, ...problems: string[]])[]

function holds(
  t: { strictSame: (found: unknown, wanted: unknown, name: string) => unknown },
  table: Table,
): void {
  for (const [text, ...problems] of table) {
    t.strictSame(
      problemsOf(text),
      problems.map(problem => `shop.yaml:${problem}`),
      text.slice(0, 200),
    )
  }
}

t.test('parseProject() refuses what is not a Compose file', async t => {
  holds(t, [
    ['', '1: the project declares no services'],
    ['services:', '1: the project declares no services'],
    [
      'a: [',
      '1: not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]',
    ],
    ['services:\n\tweb: 1', '2: not valid YAML: Tabs are not allowed as indentation'],
    ['[a, b]', '1: a Compose file is a mapping that begins with services:'],
    ['services: [web]', '1: services: must be a mapping'],
    ['services: { web: 3 }', '1: services.web: must be a mapping'],
    ['services:\n  a: { command: x }\n  a: { command: y }', '3: services.a: is already on line 2'],
    [
      'services: { a: &a { command: x, x-y: *a } }',
      '1: services.a.x-y: the alias "*a" contains itself',
    ],
    [
      'services: { a: { command: *b } }',
      '1: services.a.command: the alias "*b" stands for no anchor before it',
    ],
    [
      'services: { a: !x { command: y } }',
      '1: services.a: the tag "!x" is not known; Compose has !reset and !override',
    ],
    ['services: { ? [a] : b }', '1: services: a key must be a plain string'],
    [
      'services: { a: { command: "x\\0" } }',
      '1: services.a.command: a value must not hold a NUL character',
    ],
    [
      'include: [a.yaml]',
      '1: include: is not supported; name the files on the command line, each with -f',
    ],
    [
      'name: Shop\nservices: { a: { command: x } }',
      '1: name: "Shop" is not a project name; use lower case letters, digits, "-" and "_", and begin with a letter or digit',
    ],
  ])
})

t.test('parseProject() refuses keys and values of the wrong kind', async t => {
  holds(t, [
    [
      'services: { web: { comand: serve } }',
      '1: services.web.comand: is not a known key; did you mean "command"?',
    ],
    [
      webWith('healthcheck: { test: x, intervall: 3s }'),
      '4: services.web.healthcheck.intervall: is not a known key; did you mean "interval"?',
    ],
    [
      frontWith('drivr: bridge'),
      '4: networks.front.drivr: is not a known key; did you mean "driver"?',
    ],
    [
      webWith('ports:\n  - { target: 80, publishd: 8080 }'),
      '5: services.web.ports[0].publishd: is not a known key; did you mean "published"?',
    ],
    [webWith('quux: 1'), '4: services.web.quux: is not a known key'],
    [
      webWith('environment: 3'),
      '4: services.web.environment: must be a mapping or a list of KEY=VALUE',
    ],
    [webWith('environment: { A: [b] }'), '4: services.web.environment.A: must be a string'],
    [webWith('entrypoint: [a, [b]]'), '4: services.web.entrypoint[1]: must be a string'],
    [
      webWith('networks: front'),
      '4: services.web.networks: must be a list or a mapping of networks',
    ],
    [webWith('ports: 80'), '4: services.web.ports: must be a list of ports'],
    [webWith('ports: [{ published: 80 }]'), '4: services.web.ports[0].target: is missing'],
    [
      webWith('deploy: { replicas: few }'),
      '4: services.web.deploy.replicas: must be a whole number from 0 to 10000, not "few"',
    ],
    [
      webWith('deploy: { endpoint_mode: vips }'),
      '4: services.web.deploy.endpoint_mode: "vips" is not known; write vip or dnsrr',
    ],
    [
      frontWith('internal: maybe'),
      '4: networks.front.internal: must be true or false, not "maybe"',
    ],
  ])
})

t.test('parseProject() refuses variables that cannot be put in', async t => {
  holds(t, [
    [
      webWith('hostname: ${A:?give a name}'),
      '4: services.web.hostname: the variable "A" must be set: give a name',
    ],
    [webWith('hostname: ${A?}'), '4: services.web.hostname: the variable "A" must be set'],
    [
      webWith('hostname: ${A'),
      '4: services.web.hostname: "${A" is not a variable; write ${NAME}, or $$ for a dollar sign',
    ],
    [
      webWith('hostname: costs $5'),
      '4: services.web.hostname: "$5" is not a variable; write ${NAME}, or $$ for a dollar sign',
    ],
    [
      'services: { web: { command: "${A:?}" } }',
      '1: services.web.command: the variable "A" must be set',
    ],
  ])
})

t.test('parseProject() refuses services that cannot run', async t => {
  holds(t, [
    ['services:\n  web:\n    image: nginx', `2: services.web: ${NO_COMMAND}`],
    ['services:\n  web:', `2: services.web: ${NO_COMMAND}`],
    ['services: { web: { command: [] } }', `1: services.web: ${NO_COMMAND}`],
    [
      'services: { web: { command: "sh -c \'x" } }',
      '1: services.web.command: "sh -c \'x" has a quote that is not closed',
    ],
    ['services: { "a b": { command: x } }', `1: services.a b: "a b" is not a name; ${NAME_RULE}`],
    [
      `services: { ${long}: { command: x } }`,
      `1: services.${long}: "${long}" has 70 characters; a label of a name has at most 63`,
    ],
    [
      `services: { ${'a'.repeat(60)}: { command: x } }`,
      `1: services.${'a'.repeat(60)}: the name of its containers is too long: "demo-${'a'.repeat(60)}-1" has 67 characters; a label of a name has at most 63`,
    ],
    [webWith('hostname: a b'), `4: services.web.hostname: "a b" is not a name; ${NAME_RULE}`],
    [
      webWith('container_name: -x'),
      '4: services.web.container_name: "-x" is not a name; use two or more letters, digits, "-", "_" and ".", and begin with a letter or a digit',
    ],
    [
      webWith('container_name: demo-db-2', '  db: { command: x, scale: 2 }\n'),
      '4: services.web.container_name: "demo-db-2" is already the name of a container of service "db"',
    ],
    [
      webWith('container_name: same', '  db:\n    command: x\n    container_name: same\n'),
      '7: services.db.container_name: "same" is already the name of a container of service "web"',
    ],
    [
      webWith('scale: 2\ndeploy: { replicas: 3 }'),
      '4: services.web.scale: is 2, but deploy.replicas is 3; give one of them',
    ],
    [
      webWith('scale: 2\ncontainer_name: one'),
      '5: services.web.container_name: 2 replicas cannot share one name',
    ],
    [
      webWith('restart: sometimes'),
      '4: services.web.restart: "sometimes" is not known; write no, always, on-failure, on-failure:RETRIES or unless-stopped',
    ],
    [
      webWith('stop_signal: SIGFOO'),
      '4: services.web.stop_signal: "SIGFOO" is not a signal, such as SIGTERM or 15',
    ],
    [
      webWith('stop_grace_period: 10'),
      '4: services.web.stop_grace_period: "10" is not a duration; write it as 500ms, 10s or 1m30s',
    ],
    [
      webWith('stop_grace_period: 9999h'),
      '4: services.web.stop_grace_period: "9999h" is longer than 24 days',
    ],
    [
      webWith('healthcheck: { interval: 3s }'),
      '4: services.web.healthcheck: needs a test, since there is no image to take one from',
    ],
    [
      webWith('healthcheck: { test: [curl] }'),
      '4: services.web.healthcheck.test: must begin with CMD, CMD-SHELL or NONE, not "curl"',
    ],
    [
      webWith('healthcheck: { test: [CMD] }'),
      '4: services.web.healthcheck.test: names no command to run',
    ],
    [
      webWith('environment: [=x]'),
      '4: services.web.environment.: "" is not the name of a variable',
    ],
    [
      webWith('env_file: a.env'),
      '4: services.web.env_file[0]: the file "/srv/demo/a.env" cannot be read here',
    ],
    [
      webWith('extends: base'),
      '4: services.web.extends.service: the file declares no service "base"',
    ],
    [
      webWith('extends: { service: base, file: b.yaml }'),
      '4: services.web.extends.file: is not supported; a service can extend one of the same file only',
    ],
    [
      webWith('extends: db', '  db: { extends: web }\n'),
      '5: services.db.extends.service: services extend each other: web -> db -> web',
    ],
  ])
  t.strictSame(problemsOf(webWith('env_file: a.env'), { readFile: () => undefined }), [
    'shop.yaml:4: services.web.env_file[0]: the file "/srv/demo/a.env" is not there',
  ])
  const failing = () => {
    throw new Error('EACCES: permission denied')
  }
  t.strictSame(problemsOf(webWith('env_file: a.env'), { readFile: failing }), [
    'shop.yaml:4: services.web.env_file[0]: the file "/srv/demo/a.env" cannot be read: ' +
      'EACCES: permission denied',
  ])
  t.strictSame(problemsOf(webWith('env_file: a.env'), { readFile: () => 'A=1\nB C\n' }), [
    'shop.yaml:4: services.web.env_file[0]: /srv/demo/a.env:2: is not NAME=value',
  ])
})

t.test('parseProject() refuses dependencies that cannot be met', async t => {
  holds(t, [
    [
      webWith('depends_on: [bd]', '  db: { command: x }\n'),
      '4: services.web.depends_on.bd: the file declares no service "bd"',
    ],
    [
      webWith('depends_on: [apii]', '  api: { command: x }\n'),
      '4: services.web.depends_on.apii: the file declares no service "apii"; did you mean "api"?',
    ],
    [
      webWith('depends_on: [db, db]', '  db: { command: x }\n'),
      '4: services.web.depends_on[1]: "db" is listed twice',
    ],
    [
      webWith('depends_on: [web]'),
      '4: services.web.depends_on.web: service "web" cannot depend on itself',
    ],
    [
      webWith('depends_on: [db]', '  db: { command: x, depends_on: [web] }\n'),
      '4: services.web.depends_on.db: services depend on each other: web -> db -> web',
    ],
    [
      webWith('network_mode: service:db', '  db: { command: x, links: [web] }\n'),
      '4: services.web.network_mode: services depend on each other: web -> db -> web',
    ],
    [
      webWith('depends_on: { db: { condition: healthy } }', '  db: { command: x }\n'),
      '4: services.web.depends_on.db.condition: "healthy" is not known; write service_started, service_healthy or service_completed_successfully',
    ],
    [
      webWith('depends_on: { db: { condition: service_healthy } }', '  db: { command: x }\n'),
      '4: services.web.depends_on.db: service "db" has no healthcheck, so it never becomes healthy',
    ],
    [
      webWith('depends_on: [db]', '  db: { command: x, profiles: [p] }\n'),
      '4: services.web.depends_on.db: service "db" is left out, because none of its profiles is enabled',
    ],
    [webWith('links: [nope]'), '4: services.web.links[0]: the file declares no service "nope"'],
    [
      webWith("links: ['a:b:c']"),
      '4: services.web.links[0]: "a:b:c" is not a link; write SERVICE or SERVICE:ALIAS',
    ],
  ])
})

t.test('parseProject() refuses attachments that cannot be made', async t => {
  holds(t, [
    [
      webWith('networks: [fornt]', front),
      '4: services.web.networks.fornt: the file declares no network "fornt"; did you mean "front"?',
    ],
    [
      webWith('networks: [front, front]', front),
      '4: services.web.networks[1]: "front" is listed twice',
    ],
    [
      webWith('networks:\n  front:\n    ipv4_address: "10.0.0.300"', front),
      '6: services.web.networks.front.ipv4_address: "10.0.0.300" is not an IPv4 address',
    ],
    [
      webWith('networks: { front: { ipv4_address: "fd00::1" } }', front),
      '4: services.web.networks.front.ipv4_address: "fd00::1" is not an IPv4 address',
    ],
    [
      webWith('networks: { front: { ipv4_address: 10.0.2.1 } }', front),
      '4: services.web.networks.front.ipv4_address: "10.0.2.1" is outside the subnet 10.0.1.0/24 of network "front"',
    ],
    [
      webWith('networks: { front: { ipv4_address: 10.0.1.1 } }', front),
      '4: services.web.networks.front.ipv4_address: "10.0.1.1" is the gateway of network "front"',
    ],
    [
      webWith('networks: { front: { ipv4_address: 10.0.1.255 } }', front),
      '4: services.web.networks.front.ipv4_address: "10.0.1.255" is the last address of 10.0.1.0/24, which is for broadcast',
    ],
    [
      webWith('networks: { front: { ipv6_address: "fd00::9" } }', front),
      '4: services.web.networks.front.ipv6_address: network "front" needs an IPv6 subnet under ipam.config for a static address',
    ],
    [
      webWith('scale: 2\nnetworks: { front: { ipv4_address: 10.0.1.9 } }', front),
      '5: services.web.networks.front.ipv4_address: 2 replicas cannot share one address',
    ],
    [
      webWith(
        'networks: { front: { ipv4_address: 10.0.1.9 } }',
        `  db:\n    command: x\n    networks: { front: { ipv4_address: 10.0.1.9 } }\n${front}`,
      ),
      '7: services.db.networks.front.ipv4_address: "10.0.1.9" is already the address of service "web"',
    ],
    [
      webWith(`networks: { front: { aliases: [${long}, ${long}, a b] } }`, front),
      `4: services.web.networks.front.aliases[1]: "${long}" is listed twice`,
      `4: services.web.networks.front.aliases[0]: "${long}" has 70 characters; a label of a name has at most 63`,
      `4: services.web.networks.front.aliases[1]: "${long}" has 70 characters; a label of a name has at most 63`,
      `4: services.web.networks.front.aliases[2]: "a b" is not a name; ${NAME_RULE}`,
    ],
    [
      webWith('networks: { front: { mac_address: "03:00:00:00:00:01" } }', front),
      '4: services.web.networks.front.mac_address: "03:00:00:00:00:01" is not the MAC address of an interface, such as 02:42:0a:00:01:05',
    ],
    [
      webWith('networks: { front: { interface_name: much-too-long-name } }', front),
      '4: services.web.networks.front.interface_name: "much-too-long-name" is not an interface name of at most 15 characters',
    ],
    [
      webWith('network_mode: host\nnetworks: [front]', front),
      '4: services.web.network_mode: cannot be used together with networks',
    ],
    [
      webWith('network_mode: front', front),
      '4: services.web.network_mode: "front" is not known; write bridge, host, none, service:NAME or container:NAME',
    ],
    [
      webWith('network_mode: service:db'),
      '4: services.web.network_mode: the file declares no service "db"',
    ],
    [
      webWith('network_mode: container:x\nports: [80]'),
      '5: services.web.ports: cannot be used together with network_mode "container:x"',
    ],
    [
      webWith('extra_hosts: [a]'),
      '4: services.web.extra_hosts[0]: "a" is not a host; write it as HOST=ADDRESS',
    ],
    [
      webWith('extra_hosts: { a: gateway }'),
      '4: services.web.extra_hosts[0]: "gateway" is not an IPv4 or IPv6 address, nor host-gateway',
    ],
    [
      webWith('dns: localhost'),
      '4: services.web.dns[0]: "localhost" is not an IPv4 or IPv6 address',
    ],
  ])
})

t.test('parseProject() refuses ports that cannot be published', async t => {
  const form = 'is not a port; write [HOST_IP:]PUBLISHED:TARGET[/PROTOCOL] with ports up to 65535'
  holds(t, [
    [webWith('ports: [x]'), `4: services.web.ports[0]: "x" ${form}`],
    [webWith("ports: ['70000:80']"), `4: services.web.ports[0]: "70000:80" ${form}`],
    [webWith("ports: ['80:0']"), `4: services.web.ports[0]: "80:0" ${form}`],
    [webWith("ports: ['82-80:80']"), `4: services.web.ports[0]: "82-80:80" ${form}`],
    [
      webWith("ports: ['80-82:80-81']"),
      '4: services.web.ports[0]: publishes 3 ports for 2 of the container; give as many',
    ],
    [
      webWith("ports: ['host:80:80']"),
      '4: services.web.ports[0]: "host" is not an IPv4 or IPv6 address to publish at',
    ],
    [
      webWith("ports: ['80/icmp']"),
      '4: services.web.ports[0]: "icmp" is not a protocol; the protocols are tcp, udp and sctp',
    ],
    [
      webWith('ports: [{ target: 80-81 }]'),
      '4: services.web.ports[0].target: "80-81" is not a port from 1 to 65535',
    ],
    [
      webWith('expose: [http]'),
      '4: services.web.expose[0]: "http" is not a port; write 3000 or 3000-3005',
    ],
    [
      webWith("ports: ['80:80']", "  db: { command: x, ports: ['127.0.0.1:80:81'] }\n"),
      '5: services.db.ports: service "web" already publishes 80/tcp',
    ],
  ])
  t.strictSame(
    problemsOf(
      webWith("ports: ['127.0.0.2:80:80']", "  db: { command: x, ports: ['127.0.0.1:80:81'] }\n"),
    ),
    [],
    'the same port at another address is another port',
  )
})

t.test('parseProject() refuses networks that cannot be made', async t => {
  const config = (lines: string) => frontWith(`ipam: { config: [${lines}] }`)
  holds(t, [
    [
      frontWith('driver: overlay'),
      '4: networks.front.driver: "overlay" is not supported; the drivers are bridge, host and none',
    ],
    [
      frontWith('ipam: { driver: dhcp }'),
      '4: networks.front.ipam.driver: "dhcp" is not supported; the only driver is "default"',
    ],
    [
      frontWith('external: true\ndriver_opts: { a: b }'),
      '5: networks.front.driver_opts: says how to make the network, but external: true says that it exists',
    ],
    [
      frontWith('name: bridge'),
      '4: networks.front.name: "bridge" is a network that is always there; use external: true',
    ],
    [
      frontWith(`name: ${long}`),
      `4: networks.front.name: "${long}" has 70 characters; a label of a name has at most 63`,
    ],
    [
      frontWith('name: demo_default'),
      '4: networks.front.name: "demo_default" is already the name of network "default"',
    ],
    [
      frontWith('enable_ipv4: false'),
      '4: networks.front.enable_ipv4: is false, and so is enable_ipv6: no family is left',
    ],
    [
      frontWith('enable_ipv6: false\nipam: { config: [{ subnet: "fd00::/64" }] }'),
      '4: networks.front.enable_ipv6: is false, but the network declares an IPv6 subnet',
    ],
    [
      config('{ gateway: 10.0.1.1 }'),
      '4: networks.front.ipam.config[0]: needs a subnet, such as 10.0.1.0/24',
    ],
    [
      config('{ subnet: 10.0.1.0 }'),
      '4: networks.front.ipam.config[0].subnet: "10.0.1.0" is not a subnet; write it as ADDRESS/LENGTH, such as 10.0.1.0/24',
    ],
    [
      config('{ subnet: 10.0.1.5/24 }'),
      '4: networks.front.ipam.config[0].subnet: "10.0.1.5/24" is not the start of a subnet; write it as 10.0.1.0/24',
    ],
    [
      config('{ subnet: 10.0.1.0/24, gateway: 10.0.2.1 }'),
      '4: networks.front.ipam.config[0].gateway: "10.0.2.1" is outside the subnet 10.0.1.0/24',
    ],
    [
      config('{ subnet: 10.0.1.0/24, gateway: 10.0.1.0 }'),
      '4: networks.front.ipam.config[0].gateway: "10.0.1.0" is the first address of 10.0.1.0/24, which names the subnet itself',
    ],
    [
      config('{ subnet: 10.0.1.0/24, ip_range: 10.0.0.0/23 }'),
      '4: networks.front.ipam.config[0].ip_range: "10.0.0.0/23" is outside the subnet 10.0.1.0/24',
    ],
    [
      config('{ subnet: 10.0.1.0/24, gateway: 10.0.1.9, aux_addresses: { a: 10.0.1.9 } }'),
      '4: networks.front.ipam.config[0].aux_addresses.a: "10.0.1.9" is already the gateway',
    ],
    [
      config('{ subnet: 10.0.0.0/16 }, { subnet: 10.0.1.0/24 }'),
      '4: networks.front.ipam.config[1].subnet: "10.0.1.0/24" overlaps with 10.0.0.0/16 of the same network',
    ],
    [
      `${config('{ subnet: 10.0.0.0/16 }')}  back:\n    ipam: { config: [{ subnet: 10.0.1.0/24 }] }\n`,
      '6: networks.back.ipam.config[0].subnet: "10.0.1.0/24" overlaps with 10.0.0.0/16 of network "front"',
    ],
  ])
})

t.test('ComposeError carries the first problem, and how many more there are', async t => {
  const file = webWith('hostname: a b\nscale: 2\ncontainer_name: one\nrestart: maybe')
  t.throws(() => parse(file), {
    name: 'ComposeError',
    code: 'COMPOSE_INVALID',
    message: `shop.yaml:4: services.web.hostname: "a b" is not a name; ${NAME_RULE} (and 2 more)`,
  })
  t.equal(problemsOf(file).length, 3)
  t.throws(() => parse('a: ['), { code: 'COMPOSE_SYNTAX' })
  t.equal(new ComposeError('COMPOSE_INVALID', ['one']).message, 'one')
})

t.test('parseProject() names the file that has the mistake', async t => {
  t.strictSame(problemsOf([webWith('hostname: fine'), 'services:\n  web:\n    restart: maybe\n']), [
    'override.yaml:3: services.web.restart: "maybe" is not known; write no, always, on-failure, on-failure:RETRIES or unless-stopped',
  ])
})

t.test('parseProject() finds the line of a mistake behind an anchor', async t => {
  const file =
    'x-a: &a\n  command: serve\n  restart: maybe\nservices:\n  web: *a\n  db:\n    <<: *a\n'
  t.strictSame(
    problemsOf(file).map(problem => problem.split(': ').slice(0, 2).join(': ')),
    ['shop.yaml:3: services.web.restart', 'shop.yaml:3: services.db.restart'],
  )
})
