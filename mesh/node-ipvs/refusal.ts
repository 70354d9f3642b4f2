/** The errors of an answer that is a no, or that never came: sentences that say what to do next. */
import { IpvsError, type IpvsErrorCode } from './error.js'
import { errnoName } from './libc.js'
import type { Verdict } from './wire/message.js'

/** What was attempted, for the error: "Cannot COMMAND WHAT". */
export interface Subject {
  /** `create destination`. */
  readonly command: string
  /** `10.0.0.7:80 of tcp 10.0.0.1:80`. */
  readonly what: string
  /** Completes the sentence, by errno, where the kernel's code has a meaning of its own here. */
  readonly advice?: Readonly<Partial<Record<IpvsErrorCode, string>>>
}

const ADVICE: Readonly<Partial<Record<IpvsErrorCode, string>>> = {
  EPERM: 'it needs CAP_NET_ADMIN in the initial user namespace; run it as root',
  ESRCH: 'there is no such service; create it first',
}

/** The kernel said no. */
export function refuse(subject: Subject, { errno, words }: Verdict): IpvsError {
  const code = errnoName(errno)
  const { command, what } = subject
  const said = words === undefined ? code : `${code} (${words})`
  const advice = subject.advice?.[code] ?? ADVICE[code]
  const reason = advice === undefined ? `the kernel says ${said}` : `${advice} (${said})`
  return new IpvsError(code, `Cannot ${command}${spaced(what)}: ${reason}`, {
    command,
    what,
    words,
  })
}

/** Why there is no answer. */
export type Loss = 'ENOBUFS' | 'ETIMEDOUT'

/** The answer to a change did not come, so what holds now is not known. */
export function loseChange({ command, what }: Subject, loss: Loss): IpvsError {
  const sentence =
    `Cannot tell whether "${command}${spaced(what)}" happened: its answer was lost (${loss}); ` +
    `read what holds before trying again`
  return new IpvsError(loss === 'ETIMEDOUT' ? loss : 'IPVS_STATE_UNKNOWN', sentence, {
    command,
    what,
  })
}

/** A change was held back, because the answers to earlier ones did not come. */
export function holdBack({ command, what }: Subject): IpvsError {
  const sentence =
    `Cannot ${command}${spaced(what)}: it was not sent, because the answer to an earlier change ` +
    `was lost (ETIMEDOUT); try again`
  return new IpvsError('ETIMEDOUT', sentence, { command, what })
}

/** The answer to a question did not come. */
export function loseReply({ command, what }: Subject, loss: Loss): IpvsError {
  const sentence = `Cannot ${command}${spaced(what)}: the answer was lost (${loss}); try again`
  return new IpvsError(loss, sentence, { command, what })
}

function spaced(what: string): string {
  return what === '' ? '' : ` ${what}`
}
