/** Resolvers that people use, run by `portolan exec` in containers of world W. */

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { asRoot, type Host } from '../lab/host.js'
import { fixturePath, openWorld } from '../lab/world.js'

/** Options of a test that needs a program of the host. */
function needs(...programs: readonly string[]): { skip?: string } {
  const missing = programs.find(
    program => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0,
  )
  return missing === undefined ? {} : { skip: `needs ${missing}: npm run setup -- --test` }
}

/** What a program in `container` printed, lines sorted. A failure is part of it. */
async function lines(host: Host, container: string, ...argv: readonly string[]): Promise<string[]> {
  const { stdout, stderr, code } = await host.cli('exec', container, '--', ...argv)
  const text = code === 0 ? stdout : `${stdout}${stderr}exit ${code}`
  return text.trim().split('\n').sort()
}

t.test('resolvers inside containers', asRoot, async t => {
  const host = await openWorld(t, { isMany: true })

  t.test(
    'dig: a name, both transports, EDNS, NODATA, PTR, an outside name',
    needs('dig'),
    async t => {
      const dig = (...argv: readonly string[]) => lines(host, 'c1', 'dig', '+noall', ...argv)
      t.strictSame(await lines(host, 'c1', 'dig', '+short', '-q', 'c2'), ['172.30.1.3'])
      t.strictSame(await lines(host, 'c1', 'dig', '+short', '+tcp', 'shared'), [
        '172.30.1.2',
        '172.30.1.3',
      ])
      t.strictSame(await lines(host, 'c1', 'dig', '+short', '-x', '172.30.1.3'), ['c2.net1.'])
      t.strictSame(await lines(host, 'c1', 'dig', '+short', 'test.example'), ['203.0.113.10'])
      const [comment] = (await dig('+comments', 'c2', 'AAAA')).filter(line =>
        /->>HEADER/.test(line),
      )
      t.match(comment, /status: NOERROR/)
      t.match(await dig('+authority', 'c2', 'AAAA'), [/\sSOA\s/])
      // dig complains of what it dislikes in lines of its own.
      const warnings = (await dig('+comments', 'c2')).filter(line =>
        /WARNING|bad packet|mismatch/.test(line),
      )
      t.strictSame(warnings, [])
      t.equal((await lines(host, 'c1', 'dig', '+short', 'many')).length, 45, 'all of a large set')
    },
  )

  t.test('drill: a name, and NXDOMAIN', needs('drill'), async t => {
    t.match(
      (await lines(host, 'c1', 'drill', 'c2')).join('\n'),
      /c2\.\s+0\s+IN\s+A\s+172\.30\.1\.3/,
    )
    t.match((await lines(host, 'c1', 'drill', 'nosuch.net1')).join('\n'), /rcode: NXDOMAIN/)
  })

  t.test(
    'getent (glibc): names, aliases, both families, reverse, nothing',
    needs('getent'),
    async t => {
      const hosts = async (container: string, name: string): Promise<string> =>
        (await lines(host, container, 'getent', 'ahosts', name))
          .filter(line => line.includes('STREAM'))
          .map(line => line.split(/\s+/)[0])
          .join(' ')
      t.equal(await hosts('c1', 'c2'), '172.30.1.3')
      t.equal(await hosts('c1', 'shared'), '172.30.1.2 172.30.1.3')
      t.equal(await hosts('c2', 'c2.net2'), '172.30.2.2 fd00:2::2')
      t.equal(await hosts('s6', 's6b'), 'fd00:66::3')
      t.equal(await hosts('c2', 'test.example'), '2001:db8::10 203.0.113.10')
      t.equal(await hosts('c1', 'test.example'), '203.0.113.10', 'c1 has no IPv6 (AI_ADDRCONFIG)')
      t.match(await lines(host, 'c1', 'getent', 'hosts', '172.30.1.3'), [/c2\.net1/])
      t.strictSame(await lines(host, 'c1', 'getent', 'ahosts', 'c3'), ['exit 2'])
    },
  )

  t.test("Node's dns: resolve4, resolve6, resolveAny, reverse, lookup, ENOTFOUND", async t => {
    const script = `
      const { promises: dns, lookup } = require('dns')
      const code = promise => promise.catch(error => error.code)
      const main = async () => ({
        resolve4: await dns.resolve4('shared').then(all => all.sort()),
        resolve6: await code(dns.resolve6('c2')),
        ttl: await dns.resolve4('c2', { ttl: true }),
        reverse: await dns.reverse('172.30.1.3'),
        lookup: await dns.lookup('c2', { all: true }),
        outside: await dns.resolve4('test.example'),
        txt: await dns.resolveTxt('who.example'),
        many: (await dns.resolve4('many')).length,
        none: await code(dns.resolve4('nosuch.net1')),
        servers: dns.getServers(),
      })
      main().then(said => console.log(JSON.stringify(said)))`
    const text = await host.run('exec', 'c1', '--', process.execPath, '-e', script)
    t.strictSame(JSON.parse(text), {
      resolve4: ['172.30.1.2', '172.30.1.3'],
      resolve6: 'ENODATA',
      ttl: [{ address: '172.30.1.3', ttl: 0 }],
      reverse: ['c2.net1'],
      lookup: [{ address: '172.30.1.3', family: 4 }],
      outside: ['203.0.113.10'],
      txt: [['U1']],
      many: 45,
      none: 'ENOTFOUND',
      servers: ['127.0.0.11'],
    })
  })

  t.test('musl: getaddrinfo of a static program', needs('musl-gcc'), async t => {
    const program = join(host.root, 'resolve')
    const { status, stderr } = spawnSync(
      'musl-gcc',
      ['-static', '-O1', '-o', program, fixturePath('resolve.c')],
      { encoding: 'utf8' },
    )
    t.equal(status, 0, stderr)
    const resolve = (container: string, name: string) => lines(host, container, program, name)
    t.strictSame(await resolve('c1', 'c2'), ['172.30.1.3'], 'NODATA of AAAA keeps the A')
    t.strictSame(await resolve('c1', 'shared'), ['172.30.1.2', '172.30.1.3'])
    t.strictSame(await resolve('c2', 'c2.net2'), ['172.30.2.2', 'fd00:2::2'])
    t.strictSame(await resolve('s6', 's6b'), ['fd00:66::3'])
    t.strictSame(await resolve('c1', 'test.example'), ['2001:db8::10', '203.0.113.10'])
    t.ok((await resolve('c1', 'many')).length >= 25, 'at least the partial set')
    const startedAt = performance.now()
    t.match(await resolve('c1', 'nosuch.net1'), [/does not resolve/, 'exit 1'])
    // Otherwise musl waits out 5 s for each try.
    t.ok(performance.now() - startedAt < 4_500, 'an NXDOMAIN is believed at once')
    t.match(await resolve('c3', 'nosuch'), [/does not resolve/, 'exit 1'])
  })
})
