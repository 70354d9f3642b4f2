/** What the machine is made of: programs and a kernel of this host, and the packages that bring them. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { arch } from 'node:process'

/** The programs and the kernel, all there. */
export interface Equipment {
  readonly emulator: string
  readonly shareDaemon: string
  readonly busybox: string
  /** Of the kernel: `6.1.0-56-cloud-amd64`. */
  readonly release: string
}

/** Debian 12 ships it with QEMU, Debian 13 by itself. */
const shareDaemons = ['/usr/lib/qemu/virtiofsd', '/usr/libexec/virtiofsd']
const emulator = '/usr/bin/qemu-system-x86_64'
/** The static one: the initrd has no libraries. */
const busybox = '/bin/busybox'
const dynamicLoader = '/lib64/ld-linux'
/** Of the guest, which loads modules with it. */
const modprobe = '/sbin/modprobe'
const packages = 'qemu-system-x86 linux-image-cloud-amd64 busybox-static ipvsadm kmod'

/** What the machine needs, or one sentence that says what is missing and how to get it. */
export function findEquipment(): Equipment | string {
  if (arch !== 'x64') return `the machine is an x86-64 one, and this is ${arch}`
  if (process.geteuid?.() !== 0) return 'needs root: shares the root file system with the machine'
  const shareDaemon = shareDaemons.find(path => existsSync(path))
  const release = newestRelease()
  const missing = [emulator, modprobe].filter(path => !existsSync(path))
  if (!isStatic(busybox)) missing.push(`a static ${busybox}`)
  if (shareDaemon !== undefined && release !== undefined && missing.length === 0) {
    return { emulator, shareDaemon, busybox, release }
  }
  if (shareDaemon === undefined) missing.push('virtiofsd')
  if (release === undefined) missing.push('/boot/vmlinuz-*-cloud-amd64')
  return `${missing.join(', ')} not found; \`apt-get install ${packages}\` gets them`
}

function isStatic(program: string): boolean {
  return existsSync(program) && !readFileSync(program).includes(dynamicLoader)
}

/** Of the kernels that are there with their modules. */
function newestRelease(): string | undefined {
  const byVersion = new Intl.Collator('en', { numeric: true })
  return readdirSync('/boot')
    .flatMap(name => /^vmlinuz-(.*-cloud-amd64)$/.exec(name)?.[1] ?? [])
    .filter(release => existsSync(`/lib/modules/${release}/modules.dep`))
    .sort(byVersion.compare)
    .at(-1)
}
