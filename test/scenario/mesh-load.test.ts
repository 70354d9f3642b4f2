/**
 * Full load on a published port while everything that is planned happens, and then what is not: a
 * replica killed. Clients that keep their connections, and clients that open one for each request.
 */

import t from 'tap'
import { asRoot, openHost } from '../lab/host.js'
import { Load } from '../lab/load.js'
import { assertScenarios, byScenario } from '../lab/mesh-coverage.js'
import { clientAddress, hostAddress, joinOutside } from '../lab/outside-client.js'
import { bringUp, replica, replicasOf, until, untilServing } from '../lab/replicas.js'
import { ask } from '../lab/traffic.js'

const connections = 16

const composeFile = `
name: load
services:
  # Finishes what it has begun by itself, and tells clients to go: the signal may come first.
  kept:
    scale: 3
    command: ${replica('http:80')}
    ports: ['8080:80']
    labels: { portolan.drain: 10s, portolan.drain.signal: first }
    stop_grace_period: 20s
    restart: 'no'
    networks: [front]
  # Told to stop when its connections are done.
  closed:
    scale: 3
    command: ${replica('http:80')}
    ports: ['8180:80']
    labels: { portolan.drain: 10s }
    stop_grace_period: 20s
    restart: 'no'
    networks: [front]
networks: { front: {} }
`

t.test('full load', asRoot, async t => {
  const host = await openHost(t)
  const { netns } = joinOutside(t, host)
  await bringUp(host, 'load', composeFile)
  const scenario = byScenario(t)
  const ways = [
    { service: 'kept', port: 8080, isClosing: false, name: 'kept connections' },
    { service: 'closed', port: 8180, isClosing: true, name: 'a connection for each request' },
  ] as const
  for (const { service, port, isClosing, name } of ways) {
    const url = `http://${hostAddress.v4}:${port}/`
    await untilServing(host, port, 3)

    scenario(
      [78],
      `${name}: no request fails by what is planned, nor by a daemon that dies`,
      async t => {
        const load = new Load(t, { netns, url, connections, isClosing })
        await host.run('scale', `${service}=6`)
        await untilServing(host, port, 6)
        await host.run('scale', `${service}=2`)
        const [first] = await replicasOf(host, service)
        if (isClosing) await host.run('drain', first?.name ?? '')
        else await undoneSoon(first?.name ?? '')
        await host.run('drain', '--undo', first?.name ?? '')
        await host.endDaemon('SIGKILL')
        const { address } = await ask({ netns, address: hostAddress.v4, port })
        t.equal(address, clientAddress.v4, 'while no daemon runs, too')
        await host.startDaemon()
        await untilServing(host, port, 2)
        const { requests, errors } = await load.finish()
        t.comment(`${requests} requests`)
        t.ok(requests > 1_000, `${requests} requests`)
        t.strictSame(errors, { connect: 0, read: 0, write: 0, timeout: 0, status: 0 })
      },
    )

    scenario([56], `${name}: a killed replica fails what is open on it`, async t => {
      await host.run('scale', `${service}=3`)
      await untilServing(host, port, 3)
      const load = new Load(t, { netns, url, connections, isClosing })
      const [first] = await replicasOf(host, service)
      await until('it has connections', async () => {
        const seen = await ask({ netns, address: hostAddress.v4, port })
        return seen.host === first?.id.slice(0, 12)
      })
      process.kill(first?.pid ?? 0, 'SIGKILL')
      await untilServing(host, port, 2)
      const { requests, errors, failed } = await load.finish()
      t.comment(`${requests} requests, failed: ${JSON.stringify(errors)}`)
      // Each that was open on it fails once, and may be refused once more until the node knows. At
      // full speed a new connection is refused many times in those milliseconds.
      if (!isClosing) t.ok(failed <= 2 * connections, `${failed} failed`)
      t.equal(errors['timeout'], 0, 'none of them hung')
      const after = new Load(t, { netns, url, connections, isClosing })
      for (let i = 0; i < 20; i++) await ask({ netns, address: hostAddress.v4, port })
      t.equal((await after.finish()).failed, 0, 'none fails once the node knows')
    })
  }

  assertScenarios(t, 'load', scenario.numbers)

  /** Kept connections never end by themselves: the drain is only looked at while it lasts. */
  async function undoneSoon(name: string): Promise<void> {
    const draining = host.run('drain', '--timeout', '60', name)
    await until('it drains', async () => (await host.container(name)).isDraining === true)
    await host.run('drain', '--undo', name)
    await draining
  }
})
