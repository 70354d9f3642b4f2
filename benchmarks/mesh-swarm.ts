/**
 * Docker Swarm's own ingress, for comparison: dockerd on a host of its own, a swarm of one node, and a
 * service with as many tasks as there are replicas, of an image made from this host's nginx and iperf3.
 * Only in the machine: dockerd changes what it finds, and its kernel modules are not everywhere.
 */

import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { HOST } from '../test/lab/mesh-host.js'
import { BULK, composeWeb, WEB, type MeshLab } from './mesh-lab.js'
import type { Way } from './mesh-peers.js'

const IMAGE = 'bench'
const PROGRAMS = ['/usr/sbin/nginx', '/usr/bin/iperf3', '/bin/busybox'] as const
const START_TIMEOUT_MS = 240_000
const PAUSE_MS = 1_000
const TASK_STATES = ['service', 'ps', 'web', 'bulk', '--format', '{{.CurrentState}} {{.Error}}']

/** Of the machine's memory: dockerd mounts there what outlives it. */
const FOLDER = '/run/machine/docker'

/** Takes minutes where the kernel is emulated. */
export async function openSwarm(lab: MeshLab): Promise<Way> {
  if (!existsSync('/run/machine')) throw new Error('it changes its host: add --machine')
  const socket = `unix://${FOLDER}/docker.sock`
  mkdirSync(FOLDER)
  const docker = (...words: string[]): string =>
    lab.run(lab.host, ['docker', '-H', socket, ...words])
  lab.start(lab.host, [
    ...['dockerd', '-H', socket, '--storage-driver', 'vfs', '--iptables=true'],
    ...['--data-root', `${FOLDER}/data`, '--exec-root', `${FOLDER}/run`],
    ...['--pidfile', `${FOLDER}/docker.pid`],
  ])
  await until(() => docker('info'))
  console.error('swarm: the engine runs')
  docker('import', packImage(lab), IMAGE)
  docker('swarm', 'init', '--advertise-addr', HOST.v4)
  const web = ['/usr/sbin/nginx', '-c', '/web.conf']
  createService(docker, { name: 'web', ...WEB, replicas: lab.replicas.length, command: web })
  const bulk = ['/usr/bin/iperf3', '--server', '--port', String(BULK.target)]
  createService(docker, { name: 'bulk', ...BULK, replicas: 1, command: bulk })
  console.error('swarm: services are created')
  await until(() => {
    const states = docker(...TASK_STATES)
      .trim()
      .split('\n')
    const isReady = states.every(text => text.startsWith('Running'))
    if (!isReady) throw new Error(`Swarm's tasks do not run: ${states.join('; ')}`)
  })
  return {
    web: [`${HOST.v4} ${WEB.published}`],
    bulk: `${HOST.v4} ${BULK.published}`,
    pids: () => [],
    // The machine ends with everything in it.
    close: () => void docker('swarm', 'leave', '--force'),
  }
}

interface SwarmService {
  readonly name: string
  readonly published: number
  readonly target: number
  readonly replicas: number
  readonly command: readonly string[]
}

function createService(docker: (...words: string[]) => string, service: SwarmService): void {
  const { name, published, target, replicas, command } = service
  docker(
    ...['service', 'create', '--detach', '--name', name, '--replicas', String(replicas)],
    ...['--publish', `published=${published},target=${target}`, '--no-resolve-image'],
    ...[IMAGE, ...command],
  )
}

/** A tar file with the programs and what they are linked to. */
function packImage(lab: MeshLab): string {
  const root = join(lab.folder, 'image')
  for (const program of PROGRAMS) {
    for (const path of [program, ...librariesOf(lab, program)]) {
      const to = join(root, path)
      mkdirSync(dirname(to), { recursive: true })
      if (!existsSync(to)) cpSync(path, to, { dereference: true })
    }
  }
  for (const folder of ['tmp', 'etc', 'var/log/nginx', 'var/lib/nginx']) {
    mkdirSync(join(root, folder), { recursive: true })
  }
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n')
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nwww-data:x:33:\n')
  writeFileSync(join(root, 'web.conf'), composeWeb('/tmp/nginx.pid'))
  const tar = join(lab.folder, 'image.tar')
  execFileSync('tar', ['-C', root, '-cf', tar, '.'])
  return tar
}

function librariesOf(lab: MeshLab, program: string): string[] {
  try {
    const lines = lab.run(lab.host, ['ldd', program]).split('\n')
    return lines.flatMap(line => /(?:=> |^\s*)(\/\S+)/.exec(line)?.[1] ?? [])
  } catch {
    // A static program has none, and ldd says so by its code.
    return []
  }
}

/** Throws what the last try threw. */
async function until(body: () => void): Promise<void> {
  const end = performance.now() + START_TIMEOUT_MS
  for (;;) {
    try {
      body()
      return
    } catch (error) {
      if (performance.now() > end) throw error
    }
    await delay(PAUSE_MS)
  }
}
