#!/usr/bin/env node
/** The `portolan` command: reads the command line, runs one command, turns failures into exit codes. */

import { Command, CommanderError } from 'commander'
import { errorCode, errorMessage } from '../base/error.js'
import { example } from './context.js'
import { addContainerCommands } from './container.js'
import { addDaemonCommand } from './daemon.js'
import { addDemoCommand } from './demo.js'
import { addDigCommand } from './dig.js'
import { addDrainCommand } from './drain.js'
import { addDownCommand } from './down.js'
import { addExecCommand } from './exec.js'
import { addExplainCommand } from './explain.js'
import { addLogsCommand } from './logs.js'
import { addMeshCommand } from './mesh.js'
import { addNetworkCommand } from './network.js'
import { addPsCommand } from './ps.js'
import { addScaleCommand } from './scale.js'
import { addServiceCommands } from './services.js'
import { addStatusCommand } from './status.js'
import { addUpCommand } from './up.js'
import { version } from '../api/version.js'

const exitFailure = 1
const exitUsage = 2

function createProgram(): Command {
  const program = new Command('portolan')
    .description('Service discovery and load balancing for containers')
    .version(version())
    .option(
      '--root <dir>',
      'keep state, sockets and run-time files under DIR',
      process.env['PORTOLAN_ROOT'],
    )
    .addHelpText('after', example('portolan up -d -f examples/shop.yaml', 'portolan ps'))
    // Options after `exec CONTAINER` belong to the program that is run.
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => {
        const sentence = text
          .replace(/^error: /, '')
          .trim()
          .replaceAll('\n', ' ')
        write(`portolan: ${sentence}; --help shows how\n`)
      },
    })
  addUpCommand(program)
  addDownCommand(program)
  addScaleCommand(program)
  addPsCommand(program)
  addLogsCommand(program)
  addExecCommand(program)
  addContainerCommands(program)
  addDigCommand(program)
  addExplainCommand(program)
  addNetworkCommand(program)
  addServiceCommands(program)
  addMeshCommand(program)
  addDrainCommand(program)
  addStatusCommand(program)
  addDaemonCommand(program)
  addDemoCommand(program)
  return program
}

async function main(): Promise<void> {
  // `portolan ps | head -1` closes the pipe early: that is no failure of ours.
  process.stdout.on('error', error => {
    if (errorCode(error) === 'EPIPE') process.exit(0)
  })
  try {
    await createProgram().parseAsync()
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : exitUsage
      return
    }
    process.stderr.write(`portolan: ${errorMessage(error).split('\n').join(' ')}\n`)
    process.exitCode = errorCode(error) === 'USAGE' ? exitUsage : exitFailure
  }
}

await main()
