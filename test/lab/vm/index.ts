/** The machine that tests and benchmarks run in where this kernel lacks IPVS. */

export { MachineError } from './machine.js'
export type { Job } from './message.js'
export { findEquipment } from './requirement.js'
export { runInMachine, runJobs, type Command, type JobResult } from './run.js'
