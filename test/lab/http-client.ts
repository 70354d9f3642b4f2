/**
 * A client that opens a new connection every few milliseconds for the length of an action, asks once
 * and waits for the whole answer. Whatever is not a whole answer is a failure, with its reason.
 */

import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { ask, codeOf, type Answer, type Route } from './traffic.js'

export interface LoopReport {
  readonly answered: number
  /** Reasons with how often; empty: none failed. */
  readonly failures: Readonly<Record<string, number>>
  /** Answers by the replica's host name. */
  readonly byHost: ReadonlyMap<string, number>
}

const paceMs = 8
/** A client that waits this long has failed. */
const timeoutMs = 10_000
/** More than these under way: the machine is slow, and one more would say nothing. */
const mostUnderWay = 100

export class LoopClient {
  readonly #routes: readonly Route[]
  readonly #onAnswer: (answer: Answer) => void
  readonly #timer: NodeJS.Timeout
  readonly #failures: Record<string, number> = {}
  readonly #byHost = new Map<string, number>()
  #answered = 0
  #underWay = 0
  #turn = 0

  constructor(
    t: Test,
    routes: Route | readonly Route[],
    onAnswer: (answer: Answer) => void = () => undefined,
  ) {
    this.#routes = 'netns' in routes ? [routes] : routes
    this.#onAnswer = onAnswer
    this.#timer = setInterval(() => void this.#go(), paceMs)
    t.teardown(() => clearInterval(this.#timer))
  }

  get answered(): number {
    return this.#answered
  }

  /** Resolves after `count` further answers. Rejects where they do not come. */
  async answers(count: number): Promise<void> {
    const goal = this.#answered + count
    const deadline = performance.now() + timeoutMs * 2
    while (this.#answered < goal) {
      if (performance.now() > deadline) throw new Error('The mesh answers no more')
      await delay(paceMs)
    }
  }

  /** Ends, waits for what is under way, and says what was. */
  async finish(): Promise<LoopReport> {
    clearInterval(this.#timer)
    const deadline = performance.now() + timeoutMs * 2
    while (this.#underWay > 0 && performance.now() < deadline) await delay(paceMs)
    return { answered: this.#answered, failures: this.#failures, byHost: this.#byHost }
  }

  async #go(): Promise<void> {
    const route = this.#routes[this.#turn++ % this.#routes.length]
    if (route === undefined || this.#underWay >= mostUnderWay) return
    this.#underWay++
    try {
      const answer = await ask(route, timeoutMs)
      this.#answered++
      this.#byHost.set(answer.host, (this.#byHost.get(answer.host) ?? 0) + 1)
      this.#onAnswer(answer)
    } catch (error) {
      const code = codeOf(error)
      this.#failures[code] = (this.#failures[code] ?? 0) + 1
    } finally {
      this.#underWay--
    }
  }
}
