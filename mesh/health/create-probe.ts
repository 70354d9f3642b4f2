/** The probe of a specification, of whatever kind. */

import { commandProbe, type CommandRunner } from './command-probe.js'
import { httpProbe } from './http-probe.js'
import type { Probe, ProbeSpec } from './probe.js'
import type { ProbeTarget } from './target.js'
import { tcpProbe } from './tcp-probe.js'

/** A replica as probes reach it. */
export interface ProbedReplica extends ProbeTarget {
  /** Runs commands in it. */
  readonly run: CommandRunner
}

/** Throws HealthError `HEALTH_BAD_PROBE`. */
export function createProbe(spec: ProbeSpec, replica: ProbedReplica): Probe {
  switch (spec.kind) {
    case 'tcp':
      return tcpProbe(spec, replica)
    case 'http':
      return httpProbe(spec, replica)
    case 'command':
      return commandProbe(spec, replica.run)
  }
}
