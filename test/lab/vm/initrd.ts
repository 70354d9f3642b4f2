/**
 * Composes the machine's initrd: busybox, the modules that reach the share, and two scripts. The first
 * makes the host's root file system the machine's, under a layer of memory that takes every write; the
 * second is process 1 from then on: it runs the guest's program and turns the machine off.
 */

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { composeCpio } from './cpio.js'
import type { Equipment } from './requirement.js'

/** The tag of the share, and where the guest finds its work. */
export const shareTag = 'host'
export const workFile = '/run/machine/work.json'

/** What the guest needs before it sees the host's files; what they depend on comes along. */
const wantedModules = ['virtio_pci', 'virtio_console', 'virtiofs', 'overlay']

/** An archive whose scripts run `command` (words, absolute paths) with `work` at {@link workFile}. */
export function composeInitrd(
  equipment: Equipment,
  command: readonly string[],
  work: string,
): Buffer {
  const modules = listModules(equipment.release)
  const folders = ['bin', 'dev', 'proc', 'sys', 'modules', 'share', 'memory', 'root']
  return composeCpio([
    ...folders.map(path => ({ path })),
    { path: 'busybox', data: readFileSync(equipment.busybox) },
    ...modules.map(path => ({ path: `modules/${moduleFile(path)}`, data: readModule(path) })),
    { path: 'init', data: Buffer.from(composeInit(modules.map(moduleFile))) },
    { path: 'start', data: Buffer.from(composeStart(equipment.busybox, command)) },
    { path: 'work.json', data: Buffer.from(work) },
  ])
}

/** Paths of the wanted modules in the order of loading, as depmod wrote it down. */
function listModules(release: string): string[] {
  const folder = `/lib/modules/${release}`
  const lines = readFileSync(`${folder}/modules.dep`, 'utf8').split('\n')
  const ordered = wantedModules.flatMap(name => {
    const line = lines.find(text => new RegExp(`/${name}\\.ko(\\.xz)?:`).test(text))
    if (line === undefined) throw new Error(`${folder}/modules.dep knows no module "${name}"`)
    // `a.ko: b.ko c.ko` means c, then b, then a.
    return line.replace(':', '').trim().split(/\s+/).reverse()
  })
  return [...new Set(ordered)].map(path => `${folder}/${path}`)
}

function moduleFile(path: string): string {
  return basename(path, '.xz')
}

function readModule(path: string): Buffer {
  if (!path.endsWith('.xz')) return readFileSync(path)
  const { stdout, status } = spawnSync('xz', ['-dc', path], { maxBuffer: 1 << 26 })
  if (status !== 0) throw new Error(`Cannot unpack ${path} with xz`)
  return stdout
}

/** The share is mounted for reading only: a write could not reach the host even past the layer. */
function composeInit(modules: readonly string[]): string {
  return `#!/busybox sh
/busybox --install -s /bin
set -e
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in ${modules.join(' ')}; do insmod /modules/$module; done
mount -t virtiofs -o ro ${shareTag} /share
mount -t tmpfs memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/share,upperdir=/memory/upper,workdir=/memory/work overlay /root
for name in proc sys dev; do mount --move /$name /root/$name; done
mount -t tmpfs tmpfs /root/run
mkdir /root/run/machine
cp /start /work.json /root/run/machine/
exec switch_root /root /run/machine/start
`
}

function composeStart(busybox: string, command: readonly string[]): string {
  return `#!${busybox} sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
${busybox} hostname machine
${busybox} ip link set lo up
${command.map(word => `'${word}'`).join(' ')} </dev/null
${busybox} poweroff -f
`
}
