/** Whether a port of a replica accepts connections. */

import { withinTime } from './deadline.js'
import { timingOf, type Probe, type ProbeResult, type TcpProbeSpec } from './probe.js'
import { describeFailure } from './reason.js'
import { checkTarget, connectTo, type ProbeTarget } from './target.js'

/** Connects, sends nothing and hangs up. Throws HealthError `HEALTH_BAD_PROBE`. */
export function tcpProbe(spec: TcpProbeSpec, target: ProbeTarget): Probe {
  checkTarget(target, spec.port)
  return withinTime(timingOf(spec).timeoutMs, signal => connectOnce(spec.port, target, signal))
}

async function connectOnce(
  port: number,
  target: ProbeTarget,
  signal: AbortSignal,
): Promise<ProbeResult> {
  try {
    const socket = await connectTo(target, port, signal)
    socket.destroy()
    return { kind: 'success' }
  } catch (error) {
    return describeFailure(error)
  }
}
