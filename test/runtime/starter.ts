/** A daemon to be killed: `starter.js RUN_DIR PATH COMMAND...` starts a container and stays. */

import { syncBuiltinESMExports } from 'node:module'
import fs from 'node:fs'

const [, , runDir = '', path = '', ...argv] = process.argv

if (process.env['DIE_BEFORE_RECORD']) {
  // The record is written whole, then renamed: dying at the rename is dying before the record.
  fs.renameSync = (from: fs.PathLike): void => {
    const record: unknown = JSON.parse(fs.readFileSync(from, 'utf8'))
    const pid = record && typeof record === 'object' && 'initPid' in record ? record.initPid : 0
    fs.writeSync(1, String(pid))
    process.kill(process.pid, 'SIGKILL')
  }
  syncBuiltinESMExports()
}

const { startProcess } = await import('../../src/runtime/index.js')
await startProcess({
  name: 'shop-web-1',
  runDir,
  argv,
  env: { PATH: path },
  logPath: `${runDir}/log`,
})
setInterval(() => undefined, 1_000)
