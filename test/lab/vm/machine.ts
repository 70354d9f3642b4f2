/**
 * The machine: a Debian kernel under QEMU's software emulation, on this host's root file system by way
 * of virtiofs. Boots, hands on what the guest says, and leaves neither process nor file behind, however
 * it ends.
 */

import { spawn, type ChildProcess } from 'node:child_process'
import {
  existsSync,
  mkdtempSync,
  openSync,
  closeSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { CodedError } from '../../../src/base/error.js'
import { composeInitrd, shareTag, workFile } from './initrd.js'
import { parseMessage, type Message, type Work } from './message.js'
import type { Equipment } from './requirement.js'

/** The machine did not do its work. The message ends in the last lines of its console. */
export class MachineError extends CodedError<
  'MACHINE_START_FAILED' | 'MACHINE_ENDED' | 'MACHINE_TIMEOUT'
> {}

/** What ends a test from outside: its runner's time-out, a terminal, a service manager. */
const endings = ['SIGALRM', 'SIGHUP', 'SIGINT', 'SIGTERM'] as const
const guestProgram = fileURLToPath(new URL('guest.js', import.meta.url))
const shareTimeoutMs = 10_000
const pollMs = 10
/** A panic with its trace. */
const consoleTailLines = 80
const processors = 2
const memory = '2G'

/**
 * Boots, does `work` and turns the machine off. Resolves when it is off and gone; rejects with
 * MachineError where it does not boot, dies, or takes longer than `timeoutMs`.
 */
export async function bootMachine(
  equipment: Equipment,
  work: Work,
  timeoutMs: number,
  onMessage: (message: Message) => void,
): Promise<void> {
  const machine = new Machine(equipment)
  try {
    await machine.run(work, timeoutMs, onMessage)
  } finally {
    await machine.close()
  }
}

class Machine {
  readonly #equipment: Equipment
  readonly #folder = mkdtempSync(join(tmpdir(), 'portolan-machine-'))
  readonly #children: ChildProcess[] = []
  readonly #onExit = (): void => this.#abandon()
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.#abandon()
    process.kill(process.pid, signal)
  }

  constructor(equipment: Equipment) {
    this.#equipment = equipment
    process.on('exit', this.#onExit)
    for (const signal of endings) process.on(signal, this.#onSignal)
  }

  async run(work: Work, timeoutMs: number, onMessage: (message: Message) => void): Promise<void> {
    const command = [process.execPath, guestProgram, workFile]
    writeFileSync(
      this.#path('initrd'),
      composeInitrd(this.#equipment, command, JSON.stringify(work)),
    )
    await this.#startShare()
    const emulator = this.#startEmulator()
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      emulator.kill('SIGKILL')
    }, timeoutMs)
    const pending = new Set(work.jobs.map(({ name }) => name))
    if (emulator.stdout === null) throw new TypeError('The emulator has no output')
    createInterface({ input: emulator.stdout }).on('line', line => {
      const message = parseMessage(line)
      if (message.kind === 'end') pending.delete(message.name)
      onMessage(message)
    })
    await once(emulator, 'close')
    clearTimeout(timer)
    if (isLate) {
      throw this.#error('MACHINE_TIMEOUT', `was not done within ${timeoutMs / 1000} s`)
    }
    if (pending.size > 0) throw this.#error('MACHINE_ENDED', 'ended before its work was done')
  }

  /** Resolves when nothing of it is left. */
  async close(): Promise<void> {
    this.#abandon()
    const isGone = ({ exitCode, signalCode }: ChildProcess): boolean =>
      exitCode !== null || signalCode !== null
    for (const child of this.#children) if (!isGone(child)) await once(child, 'exit')
  }

  /** Synchronous, for it also runs when the process exits early. */
  #abandon(): void {
    process.off('exit', this.#onExit)
    for (const signal of endings) process.off(signal, this.#onSignal)
    for (const child of this.#children) child.kill('SIGKILL')
    rmSync(this.#folder, { recursive: true, force: true })
  }

  async #startShare(): Promise<void> {
    const child = this.#spawn(this.#equipment.shareDaemon, 'share.log', [
      `--socket-path=${this.#path('share')}`,
      ...['-o', 'source=/', '-o', 'cache=always', '-o', 'sandbox=chroot'],
    ])
    const deadline = performance.now() + shareTimeoutMs
    while (!existsSync(this.#path('share'))) {
      if (child.exitCode !== null || performance.now() > deadline) {
        throw new MachineError(
          'MACHINE_START_FAILED',
          `Cannot share the root file system with the machine: ${this.#tail('share.log')}`,
        )
      }
      await delay(pollMs)
    }
  }

  #startEmulator(): ChildProcess {
    return this.#spawn(this.#equipment.emulator, 'emulator.log', [
      ...['-nodefaults', '-display', 'none', '-no-reboot', '-nic', 'none'],
      ...['-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', String(processors), '-m', memory],
      // The share's daemon reads and writes the machine's memory.
      ...['-object', `memory-backend-memfd,id=memory,size=${memory},share=on`],
      ...['-numa', 'node,memdev=memory'],
      ...['-chardev', `socket,id=share,path=${this.#path('share')}`],
      ...['-device', `vhost-user-fs-pci,chardev=share,tag=${shareTag}`],
      ...['-chardev', 'stdio,id=port,signal=off'],
      ...['-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=port'],
      ...['-serial', `file:${this.#path('console')}`],
      ...['-kernel', `/boot/vmlinuz-${this.#equipment.release}`, '-initrd', this.#path('initrd')],
      ...['-append', 'console=ttyS0 quiet panic=-1'],
    ])
  }

  /** Its errors go to the file `log`; setpriv lets it end with us even where we are killed. */
  #spawn(program: string, log: string, words: readonly string[]): ChildProcess {
    const fd = openSync(this.#path(log), 'w')
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...words], {
      // The emulator's input stays open: at its end it would take the guest's port for unplugged.
      stdio: ['pipe', 'pipe', fd],
    })
    closeSync(fd)
    this.#children.push(child)
    return child
  }

  #error(code: 'MACHINE_ENDED' | 'MACHINE_TIMEOUT', what: string): MachineError {
    const logs = ['emulator.log', 'share.log', 'console'].map(name => this.#tail(name))
    return new MachineError(code, `The machine ${what}; its console said last:\n${logs.join('')}`)
  }

  #tail(name: string): string {
    if (!existsSync(this.#path(name))) return ''
    const lines = readFileSync(this.#path(name), 'utf8').split('\n')
    return lines.slice(-consoleTailLines).join('\n')
  }

  #path(name: string): string {
    return join(this.#folder, name)
  }
}
