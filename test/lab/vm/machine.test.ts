import { existsSync, mkdtempSync, readdirSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { findProcesses } from '../leftovers.js'
import { findEquipment } from './requirement.js'
import { runInMachine } from './run.js'

const equipment = findEquipment()
const withMachine = typeof equipment === 'string' ? { skip: equipment } : {}

/** Two boots in a row on a busy computer. */
t.setTimeout(240_000)

/** Machines of others on this computer make theirs elsewhere. */
const folder = mkdtempSync(join(tmpdir(), 'portolan-test-'))
process.env['TMPDIR'] = folder
t.teardown(() => rmdirSync(folder))

t.test(
  'runInMachine() answers code and output, and the host keeps no trace',
  withMachine,
  async t => {
    const litter = join(tmpdir(), `litter-${process.pid}`)
    let heard = ''
    const { code, output } = await runInMachine({
      argv: [
        '/bin/bash',
        '-c',
        `echo one; echo two >&2; echo x >${litter} && cat ${litter}; exit 3`,
      ],
      timeoutMs: 60_000,
      onOutput: text => (heard += text),
    })
    t.equal(code, 3)
    t.equal(output, heard)
    t.strictSame(output.trim().split('\n').sort(), ['one', 'two', 'x'])
    t.notOk(existsSync(litter), 'what it wrote stayed inside')
    t.strictSame(readdirSync(folder), [])
    t.strictSame(findProcesses(folder), [])
  },
)

t.test(
  'runInMachine() ends a command that takes too long, with all its children',
  withMachine,
  async t => {
    const { code, output } = await runInMachine({
      argv: ['/bin/bash', '-c', 'echo started; sleep 1000 & sleep 1000'],
      timeoutMs: 2_000,
    })
    t.equal(code, undefined)
    t.match(output, /^started\n[^]*Not done within 2 s/)
  },
)

t.test(
  'runInMachine() tells what the console said when the kernel panics',
  withMachine,
  async t => {
    const panic = runInMachine({
      argv: ['/bin/bash', '-c', 'echo c >/proc/sysrq-trigger'],
      timeoutMs: 60_000,
    })
    await t.rejects(panic, { code: 'MACHINE_ENDED', message: /Kernel panic/ })
    t.strictSame(findProcesses(folder), [])
  },
)
