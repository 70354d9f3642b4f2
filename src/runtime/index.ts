/** Runs a process in a sandbox: what stands in for a container engine. */

export { execInContainer, nsenterArguments } from './exec.js'
export type { ExecOptions, ExecResult } from './exec.js'
export type { Environment } from './environment.js'
export { RuntimeError } from './error.js'
export type { RuntimeErrorCode } from './error.js'
export { repairFiles, rewriteFile } from './files.js'
export type { Rewrite } from './files.js'
export { HealthMonitor } from './health-monitor.js'
export type { HealthMonitorOptions, Probe } from './health-monitor.js'
export { NEW_HEALTH, applyProbe, nextProbeDelay, readHealthcheck } from './health.js'
export type {
  Health,
  Healthcheck,
  HealthcheckDeclaration,
  HealthStatus,
  ProbeResult,
} from './health.js'
export { isAlive, readExit, readIdentity } from './identity.js'
export type { ProcessExit, ProcessIdentity } from './identity.js'
export { readLastLines, readLog, rotateLog } from './logs.js'
export type { LogOptions, RotateOptions } from './logs.js'
export type { ContainerFiles } from './mounts.js'
export {
  FIRST_START,
  decideRestart,
  isStartedWithDaemon,
  parseRestartPolicy,
} from './restart-policy.js'
export type { EndedRun, RestartDecision, RestartPolicy, RestartState } from './restart-policy.js'
export { parseSignal } from './signal.js'
export { startProcess } from './start.js'
export type { ProcessSpecification } from './start.js'
export { killProcess, signalProcess, stopProcess } from './stop.js'
export type { StopOptions } from './stop.js'
export { watchProcess } from './watch.js'
export type { Poller, ProcessWatch } from './watch.js'
