/**
 * The reconcile loop: kernel against catalog, when the kernel tells of a change, and every half minute
 * whatever it tells. It only calls reconcilers that write nothing where nothing differs.
 */

import type { Clock, Timer } from '../base/clock.js'
import { errorMessage } from '../base/error.js'
import type { Logger } from '../base/log.js'
import { openNftMonitor, openRouteMonitor } from '../kernel/monitor.js'
import type { Poller } from '../runtime/index.js'

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
  readonly poller: Poller
  readonly clock: Clock
  readonly logger: Logger
}): ReconcileLoop {
  const { reconcile, poller, clock, logger } = options
  const monitors = [openRouteMonitor(), openNftMonitor()]
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
  for (const monitor of monitors) {
    poller.add(monitor.fd, () => {
      monitor.read()
      schedule(settleMs)
    })
  }
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
