/** `portolan daemon`: the daemon in the foreground, as a service manager wants it. */

import { Option, type Command } from 'commander'
import { example, pathsFor } from './context.js'

interface DaemonOptions {
  readonly background?: true
  readonly logLevel: string
  readonly resolvConf: string
  readonly dataplane: 'auto' | 'ipvs' | 'nftables' | 'userspace'
}

export function addDaemonCommand(program: Command): void {
  program
    .command('daemon')
    .description('run the daemon in the foreground; SIGTERM ends it and leaves containers running')
    .option('--background', 'end by itself when the last project is down, as `up` starts it')
    .option('--resolv-conf <file>', "the host's nameservers", '/etc/resolv.conf')
    .addOption(
      new Option('--dataplane <kind>', 'what balances connections to published ports')
        .choices(['auto', 'ipvs', 'nftables', 'userspace'])
        .default('auto')
        .env('PORTOLAN_DATAPLANE'),
    )
    .addOption(
      new Option('--log-level <level>', 'how much to log')
        .choices(['trace', 'debug', 'info', 'warn', 'error', 'fatal'])
        .default('info'),
    )
    .addHelpText(
      'after',
      example('portolan daemon', 'portolan --root /srv/portolan daemon --log-level debug'),
    )
    .action(async (options: DaemonOptions, command: Command) => {
      // The only place that loads the daemon: every other command stays light.
      const { runDaemon } = await import('../daemon/daemon.js')
      await runDaemon({
        paths: pathsFor(command),
        isBackground: options.background ?? false,
        logLevel: options.logLevel,
        resolvConf: options.resolvConf,
        dataplane: options.dataplane,
      })
    })
}
