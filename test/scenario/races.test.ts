/** Commands that meet each other, and what one must not take from another. */

import t from 'tap'
import type { ContainerView, NetworkView } from '../../src/api/contract.js'
import { asRoot, openHost, type Host } from '../lab/host.js'
import { findFaults } from './truth.js'

function compose(name: string, services: string, subnet: string): string {
  return `name: ${name}\nservices:\n${services}\nnetworks:\n  n: { ipam: { config: [{ subnet: ${subnet} }] } }\n`
}

async function up(host: Host, name: string, services: string): Promise<string> {
  const subnet = name === 'one' ? '10.50.1.0/24' : '10.50.2.0/24'
  const path = host.writeFile(`${name}.yaml`, compose(name, services, subnet))
  return host.run('up', '-d', '-f', path)
}

function containers(host: Host): Promise<readonly ContainerView[]> {
  return host.api.call<readonly ContainerView[]>('GET', '/v1/containers')
}

t.test('Commands that meet', asRoot, async t => {
  const host = await openHost(t)

  await t.test('a replaced container does not free the address of its successor', async t => {
    const web = (time: number): string =>
      `  web: { command: [sleep, "${time}"], networks: [n], stop_grace_period: 0s }`
    await up(host, 'one', web(9001))
    const before = await host.container('one-web-1')
    await up(host, 'one', web(9002))
    t.strictSame(await addresses(host, 'one-web-1'), ['10.50.1.2/24'])
    t.not((await host.container('one-web-1')).id, before.id)
    const thief = host.writeFile(
      'thief.yaml',
      'name: thief\nservices:\n  s: { command: [sleep, inf], networks: { n: { ipv4_address: 10.50.1.2 } } }\nnetworks:\n  n: { external: true, name: one_n }\n',
    )
    const { code, stderr } = await host.cli('up', '-d', '-f', thief)
    t.equal(code, 1)
    t.match(stderr, /10\.50\.1\.2.*"one-web-1" has it/)
  })

  await t.test('two services of one file change their static addresses', async t => {
    const pair = (a: number, b: number): string =>
      [
        ['a', a],
        ['b', b],
      ]
        .map(
          ([name, last]) =>
            `  ${name}: { command: [sleep, inf], networks: { n: { ipv4_address: 10.50.2.${last} } }, stop_grace_period: 0s }`,
        )
        .join('\n')
    await up(host, 'two', pair(5, 6))
    await up(host, 'two', pair(6, 5))
    t.strictSame(await addresses(host, 'two-a-1'), ['10.50.2.6/24'])
    t.strictSame(await addresses(host, 'two-b-1'), ['10.50.2.5/24'])
    t.strictSame(await findFaults(host), [])
  })

  await t.test('two connects at once both hold', async t => {
    await host.run('network', 'create', 'xx')
    await host.run('network', 'create', 'yy')
    const body = { container: 'two-a-1' }
    await Promise.all(
      ['xx', 'yy'].map(name => host.api.call('POST', `/v1/networks/${name}/connect`, body)),
    )
    const { endpoints } = await host.container('two-a-1')
    t.strictSame(endpoints.map(({ network }) => network).sort(), ['two_n', 'xx', 'yy'])
    t.strictSame(await findFaults(host), [])
  })

  await t.test('of two networks of one name made at once there is one', async t => {
    const make = (): Promise<unknown> => host.api.call('POST', '/v1/networks', { name: 'same' })
    const results = await Promise.allSettled([make(), make()])
    t.strictSame(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
    const all = await host.api.call<readonly NetworkView[]>('GET', '/v1/networks')
    t.equal(all.filter(({ name }) => name === 'same').length, 1)
  })

  await t.test('a bridge name that is taken is refused, and stops nobody else', async t => {
    const args = ['--subnet', '10.50.9.0/24', '--opt', 'com.docker.network.bridge.name=lo']
    const { code } = await host.cli('network', 'create', ...args, 'bad')
    t.equal(code, 1)
    t.notMatch(await host.run('network', 'ls'), /^bad /m)
  })

  await t.test('a container that is killed is started anew at once', async t => {
    const { pid } = await host.container('two-b-1')
    if (pid === undefined) throw new Error('it does not run')
    process.kill(pid, 'SIGKILL')
    for (let tries = 0; tries < 200; tries++) {
      if ((await host.container('two-b-1')).state !== 'running') break
    }
    await host.run('start', 'two-b-1')
    const after = await host.container('two-b-1')
    t.equal(after.state, 'running')
    t.not(after.pid, pid)
  })

  await t.test('a start during a removal is refused, and nothing stays', async t => {
    const deaf =
      '  deaf: { command: [sh, -c, "trap : TERM; while :; do sleep 0.1; done"], networks: [n], stop_grace_period: 1s }'
    await up(host, 'one', deaf)
    const down = host.run('down', '-p', 'one')
    for (let tries = 0; tries < 500; tries++) {
      if ((await host.container('one-deaf-1')).state === 'stopping') break
    }
    const { code, stderr } = await host.cli('start', 'one-deaf-1')
    t.equal(code, 1)
    t.match(stderr, /being removed/)
    await down
    t.notOk((await containers(host)).some(({ project }) => project === 'one'))
    t.strictSame(await findFaults(host), [])
  })

  await t.test('a container keeps its network while the owner of its sandbox restarts', async t => {
    const joined =
      '  own: { command: [sleep, inf], networks: [n], stop_grace_period: 0s }\n  join: { command: [sleep, inf], network_mode: "service:own", stop_grace_period: 0s }'
    await up(host, 'one', joined)
    await host.run('restart', 'one-own-1')
    t.match(await host.run('exec', 'one-join-1', '--', 'ip', '-br', 'address'), /10\.50\.1\./)
    t.match(await host.run('dig', '--short', '--from', 'one-join-1', 'own'), /^10\.50\.1\./)
  })
})

async function addresses(host: Host, name: string): Promise<(string | undefined)[]> {
  const { endpoints } = await host.container(name)
  return endpoints.map(({ ipv4 }) => ipv4)
}
