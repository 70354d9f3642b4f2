/** Which dataplane is taken where, and that a wish which cannot be met is told. */

import { execFileSync } from 'node:child_process'
import t from 'tap'
import { chooseDataplane } from '../../../mesh/dataplane/choose.js'
import { probeDataplanes } from '../../../mesh/dataplane/probe.js'

/** setpriv(1): what is started has no capability, whoever starts it. */
const powerless = ['--bounding-set=-all', '--inh-caps=-all']

const all = { isRoot: true, nftables: true, ipvs: true } as const
const noIpvs = { ...all, ipvs: 'this kernel was built without IPVS' }
const noNft = { ...all, nftables: 'install libnftables1' }
const noRoot = { ...all, isRoot: false }

t.test('auto takes the best there is, and says what was passed over', async t => {
  const cases = [
    ['everything', all, 'ipvs', /^ipvs, the kernel has all it needs$/],
    ['no IPVS', noIpvs, 'nftables', /^nftables, not ipvs: this kernel was built without IPVS$/],
    ['no nftables', noNft, 'userspace', /not ipvs: install libnftables1; not nftables: install/],
    ['no root', noRoot, 'userspace', /^userspace, not ipvs: it needs root; not nftables: it needs/],
  ] as const
  for (const [name, facts, kind, reason] of cases) {
    t.match(chooseDataplane('auto', facts), { kind, reason }, name)
  }
})

t.test('an explicit wish is met or refused with the reason', async t => {
  t.match(chooseDataplane('nftables', all), { kind: 'nftables', reason: 'nftables, as asked for' })
  t.match(chooseDataplane('userspace', noRoot), { kind: 'userspace' })
  const cases = [
    ['ipvs', noIpvs, /built without IPVS/],
    ['ipvs', noNft, /install libnftables1/],
    ['nftables', noNft, /install libnftables1/],
    ['nftables', noRoot, /it needs root/],
  ] as const
  for (const [wanted, facts, message] of cases) {
    t.throws(() => chooseDataplane(wanted, facts), { code: 'MESH_NO_DATAPLANE', message })
  }
})

t.test('probeDataplanes() finds facts or reasons', async t => {
  const facts = probeDataplanes()
  for (const fact of [facts.nftables, facts.ipvs]) {
    t.ok(fact === true || fact.length > 10, String(fact))
  }
  t.ok(chooseDataplane('auto', facts).reason.length > 10)
})

t.test('without capabilities it finds userspace, and touches nothing', async t => {
  const path = new URL('../../../mesh/index.js', import.meta.url).href
  const program = `const { chooseDataplane, probeDataplanes } = await import('${path}')
    console.log(chooseDataplane('auto', probeDataplanes()).kind)`
  const output = execFileSync(
    'setpriv',
    [...powerless, process.execPath, '--input-type=module', '-e', program],
    { encoding: 'utf8', timeout: 20_000 },
  )
  t.equal(output, 'userspace\n')
})
