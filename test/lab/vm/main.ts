/** `node dist/test/lab/vm/main.js 'COMMAND'`: runs a shell command in the machine, for a developer to look. */

import { runInMachine } from './run.js'

const timeoutMs = 600_000
const command = process.argv.slice(2).join(' ')
if (command === '') {
  process.stderr.write("Usage: node dist/test/lab/vm/main.js 'COMMAND'\n")
  process.exit(2)
}
const startedAt = performance.now()
const { code, seconds } = await runInMachine({
  argv: ['/bin/bash', '-c', command],
  timeoutMs,
  onOutput: text => process.stdout.write(text),
})
const total = (performance.now() - startedAt) / 1000
process.stderr.write(
  `ended with ${code ?? 'a signal'} after ${seconds.toFixed(1)} s; ${total.toFixed(1)} s with the boot\n`,
)
process.exitCode = code ?? 128
