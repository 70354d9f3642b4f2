/**
 * Gets a checkout ready: npm packages, Debian packages (as root), build. Plain JavaScript, for nothing
 * is installed or compiled when it runs. Does only what is missing, and says what it does.
 *
 * `node src/cli/setup.mjs` for running, `--test` for the tools of the tests as well.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = new URL('../..', import.meta.url).pathname
const isTest = process.argv.includes('--test')

/** What proves that a package is there, and the Debian package that brings it. */
const debian = [
  { path: '/usr/lib/*/libnftables.so.1', package: 'libnftables1' },
  { path: '/usr/bin/nsenter', package: 'util-linux' },
  { path: '/bin/mount', package: 'mount' },
]
const debianForTests = [
  { path: '/usr/bin/dig', package: 'bind9-dnsutils' },
  { path: '/usr/bin/drill', package: 'ldnsutils' },
  { path: '/usr/bin/musl-gcc', package: 'musl-tools' },
  { path: '/usr/sbin/nft', package: 'nftables' },
  { path: '/usr/sbin/iptables', package: 'iptables' },
  { path: '/bin/ip', package: 'iproute2' },
  { path: '/usr/sbin/conntrack', package: 'conntrack' },
  { path: '/bin/ping', package: 'iputils-ping' },
  { path: '/usr/bin/wrk', package: 'wrk' },
  { path: '/usr/bin/gcc', package: 'gcc' },
  { path: '/usr/include/stdio.h', package: 'libc6-dev' },
]
/** The tests' machine: a kernel that has IPVS, emulated (test/lab/vm). */
const debianForMachine = [
  { path: '/usr/bin/qemu-system-x86_64', package: 'qemu-system-x86' },
  { path: '/boot/vmlinuz-*-cloud-amd64', package: 'linux-image-cloud-amd64' },
  // The package busybox has the same program, linked to libraries that an initrd lacks.
  { path: '/var/lib/dpkg/info/busybox-static.list', package: 'busybox-static' },
  { path: '/usr/sbin/ipvsadm', package: 'ipvsadm' },
  { path: '/sbin/modprobe', package: 'kmod' },
]

function fail(sentence) {
  process.stderr.write(`portolan: ${sentence}\n`)
  process.exit(1)
}

function say(sentence) {
  process.stdout.write(`portolan: ${sentence}\n`)
}

/** Runs a program to its end; what it prints is shown only when it fails. */
function run(program, words, environment = {}) {
  const result = spawnSync(program, words, {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, ...environment },
    maxBuffer: 1 << 26,
  })
  if (result.error) fail(`cannot run ${program}: ${result.error.message}`)
  if (result.status === 0) return
  process.stderr.write(result.stdout + result.stderr)
  fail(`\`${program} ${words.join(' ')}\` failed; what it said is above`)
}

/** One `*` in a path is whatever part of a name, or the whole name. */
function isThere(path) {
  const names = path.split('/')
  const at = names.findIndex(name => name.includes('*'))
  if (at < 0) return existsSync(path)
  const parent = names.slice(0, at).join('/')
  if (!existsSync(parent)) return false
  const [start, end] = names[at].split('*')
  return readdirSync(parent)
    .filter(name => name.startsWith(start) && name.endsWith(end))
    .some(name => existsSync([parent, name, ...names.slice(at + 1)].join('/')))
}

function checkNode() {
  const [major = 0] = process.versions.node.split('.').map(Number)
  if (major < 20) fail(`Node ${process.versions.node} is too old; Portolan needs 20 or newer`)
  if (process.platform !== 'linux') fail(`Portolan runs on Linux, and this is ${process.platform}`)
}

/** npm writes what it installed beside it; the lock file says what should be there. */
function installPackages() {
  const installed = join(root, 'node_modules/.package-lock.json')
  const wanted = join(root, 'package-lock.json')
  const isCurrent = existsSync(installed) && statSync(installed).mtimeMs >= statSync(wanted).mtimeMs
  if (isCurrent) return
  say('installing npm packages')
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    npm_config_update_notifier: 'false',
  })
}

function installDebian() {
  const wanted = isTest ? [...debian, ...debianForTests] : [...debian]
  // There is no such kernel for other processors, and asking for it would fail the rest.
  if (isTest && process.arch === 'x64') wanted.push(...debianForMachine)
  const missing = wanted.filter(({ path }) => !isThere(path)).map(one => one.package)
  if (missing.length === 0) return
  const list = missing.join(' ')
  if (process.geteuid?.() !== 0) {
    say(`not root, so these stay missing: ${list}; \`sudo apt-get install ${list}\` gets them`)
    return
  }
  if (!existsSync('/usr/bin/apt-get')) {
    fail(`these are missing and this is no Debian: ${list}; install what brings them`)
  }
  say(`installing Debian packages: ${list}`)
  const environment = { DEBIAN_FRONTEND: 'noninteractive' }
  run('apt-get', ['update', '-qq'], environment)
  const patience = ['-o', 'DPkg::Lock::Timeout=120']
  run(
    'apt-get',
    ['install', '-y', '-qq', ...patience, '--no-install-recommends', ...missing],
    environment,
  )
}

/** The newest change of anything that is compiled. */
function newestSource(folders) {
  let newest = 0
  const visit = path => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      // What a workspace's own build wrote.
      if (entry.name === 'dist' || entry.name === 'node_modules') continue
      const child = join(path, entry.name)
      if (entry.isDirectory()) visit(child)
      newest = Math.max(newest, statSync(child).mtimeMs)
    }
    newest = Math.max(newest, statSync(path).mtimeMs)
  }
  for (const folder of folders) if (existsSync(join(root, folder))) visit(join(root, folder))
  for (const file of ['tsconfig.json', 'package-lock.json']) {
    newest = Math.max(newest, statSync(join(root, file)).mtimeMs)
  }
  return String(newest)
}

function build() {
  // Now, so that the build does not change the time of the folder that it is in.
  mkdirSync(join(root, 'mesh/node-ipvs/dist'), { recursive: true })
  const stamp = join(root, 'dist/.built')
  const newest = newestSource(['src', 'resolver', 'mesh', 'test', 'benchmarks'])
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === newest) return
  say('building')
  run('npm', ['run', '--silent', 'build'])
  mkdirSync(join(root, 'dist'), { recursive: true })
  writeFileSync(stamp, newest)
}

checkNode()
installPackages()
installDebian()
build()
