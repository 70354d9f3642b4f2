/** A client outlives the kernel module: unloaded and loaded again, its family has another number. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { Ipvs, type Service } from 'node-ipvs'
import t from 'tap'
import { until } from '../lab.js'

// An emulated machine may run this, many times slower.
t.setTimeout(240_000)

const web: Service = {
  kind: 'address',
  protocol: 'tcp',
  address: '10.0.0.1',
  port: 80,
  scheduler: 'none',
}

t.test('a client goes on after the module was loaded anew', async t => {
  const ipvs = Ipvs.open()
  t.teardown(() => ipvs.close())
  // Services of whoever ran before hold the module.
  ipvs.flush()
  const isGone = (): boolean => {
    spawnSync('sh', ['-c', "lsmod | awk '/^ip_vs/ { print $1 }' | xargs -r rmmod"])
    return !existsSync('/sys/module/ip_vs')
  }
  const attempts: readonly (() => void)[] = [
    () => t.equal(ipvs.getTimeouts().udpSeconds, 300),
    () => t.strictSame(ipvs.listServices(), []),
    () => t.strictSame(ipvs.batch([{ op: 'create-service', service: web }]), [{ kind: 'done' }]),
  ]
  for (const attempt of attempts) {
    await until(isGone, 'the module to be unloaded')
    attempt()
    t.ok(existsSync('/sys/module/ip_vs'), 'asking loads it')
  }
  ipvs.flush()
})
