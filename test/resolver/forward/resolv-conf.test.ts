import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import {
  isSystemdStub,
  parseResolvConf,
  readResolvConf,
  watchResolvConf,
} from '../../../resolver/forward/resolv-conf.js'
import { parseNdots } from '../../../resolver/forward/ndots.js'
import type { Test } from 'tap'
import type { ResolvConfFile } from '../../../resolver/forward/resolv-conf.js'

t.test('parseResolvConf() reads every directive and keeps what it does not know', async t => {
  const text = [
    '# comment',
    '; comment',
    'domain old.example',
    'nameserver 192.0.2.1',
    '\tnameserver   2001:db8::1  # trailing words are ignored',
    'nameserver fe80::1%eth0',
    'nameserver not-an-address',
    'nameserver',
    'search corp.example lab.example',
    'options edns0',
    'options ndots:2 trust-ad',
    'sortlist 192.0.2.0/24',
    '',
  ].join('\n')
  t.strictSame(parseResolvConf(text), {
    nameservers: ['192.0.2.1', '2001:db8::1', 'fe80::1%eth0'],
    search: ['corp.example', 'lab.example'],
    options: ['edns0', 'ndots:2', 'trust-ad'],
    ndots: 2,
    others: ['sortlist 192.0.2.0/24'],
    invalid: ['not-an-address'],
  })
})

t.test('parseResolvConf() of nothing is empty', async t => {
  t.strictSame(parseResolvConf('').nameservers, [])
})

t.test('parseNdots() takes the last valid value', async t => {
  t.equal(parseNdots(['ndots:1', 'ndots:x', 'ndots:-3', 'ndots:']), 1)
  t.equal(parseNdots(['ndots:5', 'ndots:0']), 0)
  t.equal(parseNdots(['edns0']), undefined)
})

t.test('isSystemdStub() wants 127.0.0.53 alone', async t => {
  t.equal(isSystemdStub(parseResolvConf('nameserver 127.0.0.53')), true)
  t.equal(isSystemdStub(parseResolvConf('nameserver 127.0.0.53\nnameserver 192.0.2.1')), false)
})

t.test('readResolvConf() reads what stands behind systemd’s stub', async t => {
  const folder = folderOf(t)
  const path = join(folder, 'resolv.conf')
  const systemd = join(folder, 'systemd.conf')
  writeFileSync(path, 'nameserver 127.0.0.53\n')
  t.equal(readResolvConf(path, systemd).path, path, 'a stub without servers behind it stays')
  writeFileSync(systemd, 'nameserver 192.0.2.7\n')
  t.strictSame(readResolvConf(path, systemd).conf.nameservers, ['192.0.2.7'])
})

t.test('watchResolvConf() sees writes in place, and renames again and again', async t => {
  const folder = folderOf(t)
  const path = join(folder, 'resolv.conf')
  writeFileSync(path, 'nameserver 192.0.2.1\n')
  const changes = changesOf(t, path)
  writeFileSync(path, 'nameserver 192.0.2.2\n')
  await changes.see('192.0.2.2')
  for (const server of ['192.0.2.3', '192.0.2.4', '192.0.2.5']) {
    writeFileSync(`${path}.new`, `nameserver ${server}\n`)
    renameSync(`${path}.new`, path)
    await changes.see(server)
  }
  writeFileSync(path, 'nameserver 192.0.2.6\n')
  await changes.see('192.0.2.6')
})

t.test('watchResolvConf() follows its symlink and what that points to', async t => {
  const folder = folderOf(t)
  const path = join(folder, 'resolv.conf')
  const [first, second] = [join(folder, 'a', 'conf'), join(folder, 'b', 'conf')]
  mkdirSync(join(folder, 'a'))
  mkdirSync(join(folder, 'b'))
  writeFileSync(first, 'nameserver 192.0.2.1\n')
  writeFileSync(second, 'nameserver 192.0.2.2\n')
  symlinkSync('a/conf', path)
  const changes = changesOf(t, path)
  writeFileSync(first, 'nameserver 192.0.2.3\n')
  await changes.see('192.0.2.3')
  symlinkSync('b/conf', `${path}.new`)
  renameSync(`${path}.new`, path)
  await changes.see('192.0.2.2')
  writeFileSync(`${second}.new`, 'nameserver 192.0.2.4\n')
  renameSync(`${second}.new`, second)
  await changes.see('192.0.2.4')
})

t.test(
  'watchResolvConf() keeps the last good contents while the file is gone or empty',
  async t => {
    const folder = folderOf(t)
    const path = join(folder, 'resolv.conf')
    writeFileSync(path, 'nameserver 192.0.2.1\n')
    const changes = changesOf(t, path)
    rmSync(path)
    writeFileSync(path, '')
    await new Promise(resolve => setTimeout(resolve, 400))
    t.strictSame(changes.current(), ['192.0.2.1'])
    writeFileSync(path, 'nameserver 192.0.2.2\n')
    await changes.see('192.0.2.2')
  },
)

function folderOf(test: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'resolv-conf-'))
  test.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

interface Changes {
  /** Waits until the first nameserver is `server`; fails the test after 1 s. */
  see(server: string): Promise<void>
  current(): readonly string[] | undefined
}

function changesOf(test: Test, path: string): Changes {
  let wake: () => void = () => undefined
  const seen: ResolvConfFile[] = []
  const onChange = (file: ResolvConfFile): void => {
    seen.push(file)
    wake()
  }
  const watch = watchResolvConf(path, onChange, `${path}.systemd`)
  test.teardown(() => watch.close())
  return {
    current: () => watch.current?.conf.nameservers,
    see: async server => {
      const end = Date.now() + 1000
      while (seen.at(-1)?.conf.nameservers[0] !== server && Date.now() < end) {
        await new Promise<void>(resolve => {
          wake = resolve
          setTimeout(resolve, end - Date.now())
        })
      }
      test.strictSame(seen.at(-1)?.conf.nameservers, [server])
    },
  }
}
