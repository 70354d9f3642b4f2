/** The answer to one question as it comes in: entries, and how it ended. */
import { NLM_F, NLMSG, parseEnd, parseVerdict, type Message, type Verdict } from './wire/message.js'

export class Reading {
  readonly #sequence: number
  readonly #isDump: boolean
  readonly #entries: Buffer[] = []
  #verdict: Verdict | undefined
  #isTorn = false

  /** A dump ends by saying so, anything else with its first message. */
  constructor(sequence: number, isDump: boolean) {
    this.#sequence = sequence
    this.#isDump = isDump
  }

  get entries(): readonly Buffer[] {
    return this.#entries
  }

  /** Undefined until the end has come in. */
  get verdict(): Verdict | undefined {
    return this.#verdict
  }

  /** The table changed meanwhile, and the kernel says so. */
  get isTorn(): boolean {
    return this.#isTorn
  }

  /** Passes over what belongs to another question. */
  take(message: Message): void {
    if (message.sequence !== this.#sequence || this.#verdict !== undefined) return
    this.#isTorn ||= (message.flags & NLM_F.DUMP_INTR) !== 0
    if (message.type === NLMSG.ERROR) this.#verdict = parseVerdict(message)
    else if (message.type === NLMSG.DONE) this.#verdict = parseEnd(message)
    else {
      this.#entries.push(message.payload)
      if (!this.#isDump) this.#verdict = { errno: 0, words: undefined }
    }
  }
}
