/** Readiness of replicas: probes, what their results mean, and who gets traffic. */

export { ReadinessMonitor } from './monitor.js'
export type { ReadinessMonitorOptions } from './monitor.js'
export { createProbe } from './create-probe.js'
export type { ProbedReplica } from './create-probe.js'
export type { CommandRunner } from './command-probe.js'
export { hostSockets } from './target.js'
export type { ProbeTarget, SocketFactory } from './target.js'
export { DEFAULT_TIMING, timingOf } from './probe.js'
export type {
  CommandProbeSpec,
  HttpProbeSpec,
  Probe,
  ProbeResult,
  ProbeSpec,
  ProbeTiming,
  TcpProbeSpec,
} from './probe.js'
export type { Readiness } from './threshold.js'
export { ProbeLimit } from './limit.js'
export { parseDuration, parseProbe } from './parse.js'
export { servingSet } from './panic.js'
export type { ServingCandidate, ServingSet } from './panic.js'
export { DEFAULT_EJECTION, Ejections } from './passive.js'
export type { EjectionPolicy } from './passive.js'
export { HealthError } from './error.js'
