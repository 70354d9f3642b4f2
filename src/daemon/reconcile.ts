/**
 * The reconcile loop: kernel against catalog, when the kernel tells of damage, and every half minute
 * whatever it tells. It only calls reconcilers that write nothing where nothing differs. Our own
 * changes are no damage: with many containers, each would be followed by a look at all of them.
 */

import type { Clock, Timer } from '../base/clock.js'
import { errorMessage } from '../base/error.js'
import type { Logger } from '../base/log.js'
import { openNftMonitor, openRouteMonitor } from '../kernel/monitor.js'
import { parseRouteNews } from '../kernel/rtnetlink.js'
import type { Poller } from '../runtime/index.js'
import type { Effects } from './effects.js'

/** Mesh of kube-proxy and Docker alike repair at their leisure; ours within a second of an event. */
const settleMs = 200
const periodMs = 30_000

export interface ReconcileLoop {
  /** What is wrong now, one sentence; empty where the last round went well. */
  problems(): readonly string[]
  close(): void
}

export function openReconcileLoop(options: {
  readonly reconcile: () => Promise<void>
  readonly effects: Pick<Effects, 'isHurtBy' | 'hasRules'>
  readonly poller: Poller
  readonly clock: Clock
  readonly logger: Logger
}): ReconcileLoop {
  const { reconcile, effects, poller, clock, logger } = options
  const routes = openRouteMonitor()
  const rules = openNftMonitor()
  const monitors = [routes, rules]
  let problem: string | undefined
  let timer: Timer | undefined
  let dueAt = Infinity
  let isRunning = false
  let isClosed = false
  const schedule = (delayMs: number): void => {
    const at = clock.now() + delayMs
    if (isClosed || at >= dueAt) return
    timer?.cancel()
    dueAt = at
    timer = clock.after(delayMs, () => void run())
  }
  const run = async (): Promise<void> => {
    dueAt = Infinity
    if (isRunning) return schedule(settleMs)
    isRunning = true
    try {
      await reconcile()
      problem = undefined
    } catch (error) {
      problem = `The kernel's state could not be mended: ${errorMessage(error)}`
      logger.error({}, problem)
    } finally {
      isRunning = false
      schedule(periodMs)
    }
  }
  poller.add(routes.fd, () => {
    const { messages, overrun } = routes.read()
    if (overrun || effects.isHurtBy(messages.flatMap(one => parseRouteNews(one) ?? []))) {
      schedule(settleMs)
    }
  })
  poller.add(rules.fd, () => {
    rules.read()
    if (!effects.hasRules()) schedule(settleMs)
  })
  schedule(periodMs)
  return {
    problems: () => (problem === undefined ? [] : [problem]),
    close() {
      isClosed = true
      timer?.cancel()
      for (const monitor of monitors) {
        poller.remove(monitor.fd)
        monitor.close()
      }
    },
  }
}
