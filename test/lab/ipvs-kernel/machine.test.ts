/** What every other test in the machine relies on. */

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { release } from 'node:os'
import t from 'tap'
import { closeNetns, createNetns, runInNetns, type Netns } from '../../../src/kernel/netns.js'
import { listTables, runNft } from '../../../src/kernel/nft.js'
import { run } from '../../drivers/lab.js'

function openSandbox(t: { teardown(body: () => void): void }): Netns {
  const netns = createNetns()
  t.teardown(() => closeNetns(netns))
  return netns
}

t.test('the kernel loads IPVS on demand, each namespace with its own table', async t => {
  const [one, two] = [openSandbox(t), openSandbox(t)]
  run(one, 'ipvsadm', '-A', '-t', '10.0.0.1:80', '-s', 'rr')
  t.match(run(one, 'ipvsadm', '-Ln'), /TCP +10\.0\.0\.1:80 rr/)
  t.notMatch(run(two, 'ipvsadm', '-Ln'), '10.0.0.1')
  t.ok(existsSync('/proc/net/ip_vs'))
})

t.test('nftables takes a map that translates addresses in a conntrack zone', async t => {
  const netns = openSandbox(t)
  runInNetns(netns, () =>
    runNft(`table ip one {
 map m { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.2 } }
 chain zones { type filter hook prerouting priority raw; ct zone set 7; }
 chain nat { type nat hook prerouting priority dstnat; dnat to tcp dport map @m; }
}`),
  )
  t.match(
    runInNetns(netns, () => listTables()),
    [{ family: 'ip', name: 'one' }],
  )
  t.match(run(netns, 'nft', 'list', 'table', 'ip', 'one'), 'ct zone set 7')
})

t.test('the machine sees the files of the host and has its own kernel', async t => {
  t.match(release(), /-cloud-amd64$/)
  t.match(readFileSync('/proc/self/mountinfo', 'utf8'), / \/ rw,relatime - overlay /)
  const { status } = spawnSync('ping', ['-c1', '127.0.0.1'])
  t.equal(status, 0, 'loopback is up')
})
