/** Changes as data, and what each asks of the kernel. Pure. */
import {
  canonicalDaemon,
  canonicalDestination,
  canonicalDestinationId,
  canonicalService,
  canonicalServiceId,
  canonicalTimeouts,
} from './canonical.js'
import { COMMAND } from './command.js'
import type { SyncDaemon, SyncState } from './daemon.js'
import { describeDestination, type Destination, type DestinationId } from './destination.js'
import type { IpvsError } from './error.js'
import { checkChoice } from './input.js'
import type { Subject } from './refusal.js'
import { describeService, type Service, type ServiceId } from './service.js'
import type { Timeouts } from './settings.js'
import { nested } from './wire/attribute.js'
import { composeDaemon, composeSyncState, DAEMON } from './wire/daemon.js'
import { composeDestination, composeDestinationId, DESTINATION } from './wire/destination.js'
import { composeService, composeServiceId, SERVICE } from './wire/service.js'
import { composeTimeouts } from './wire/settings.js'

/**
 * One change. `create` refuses what is there (`EEXIST`), `update` what is not (`ESRCH` for a service,
 * `ENOENT` for a destination), `ensure` neither: afterwards the kernel has exactly what is given.
 */
export type Operation =
  | {
      readonly op: 'create-service' | 'update-service' | 'ensure-service'
      readonly service: Service
    }
  | { readonly op: 'remove-service'; readonly service: ServiceId }
  | {
      readonly op: 'create-destination' | 'update-destination' | 'ensure-destination'
      readonly service: ServiceId
      readonly destination: Destination
    }
  | {
      readonly op: 'remove-destination'
      readonly service: ServiceId
      readonly destination: DestinationId
    }
  /** Sets counters to 0: of one service and its destinations, or of all. */
  | { readonly op: 'zero'; readonly service?: ServiceId }
  /** Removes every service of the namespace. */
  | { readonly op: 'flush' }
  | { readonly op: 'set-timeouts'; readonly timeouts: Partial<Timeouts> }
  | { readonly op: 'start-daemon'; readonly daemon: SyncDaemon }
  | { readonly op: 'stop-daemon'; readonly state: SyncState }

/** What became of an operation. */
export type OperationResult =
  { readonly kind: 'done' } | { readonly kind: 'failed'; readonly error: IpvsError }

/** What an operation asks of the kernel. */
export interface Plan {
  readonly subject: Subject
  /** Two for `ensure`: create, where `EEXIST` is well, then update. */
  readonly steps: readonly Step[]
}

export interface Step {
  readonly command: number
  readonly attributes: readonly Buffer[]
}

type ServiceOperation = Extract<Operation, { op: `${string}-service` }>
type DestinationOperation = Extract<Operation, { op: `${string}-destination` }>

/** Throws IpvsError `IPVS_BAD_INPUT`. */
export function planOperation(operation: Operation): Plan {
  switch (operation.op) {
    case 'create-service':
    case 'update-service':
    case 'ensure-service':
    case 'remove-service':
      return planService(operation)
    case 'create-destination':
    case 'update-destination':
    case 'ensure-destination':
    case 'remove-destination':
      return planDestination(operation)
    case 'zero':
      return planZero(operation.service)
    case 'flush':
      return one('flush', 'all services', COMMAND.FLUSH, [])
    case 'set-timeouts':
      return planTimeouts(operation.timeouts)
    case 'start-daemon':
      return planStart(operation.daemon)
    case 'stop-daemon':
      return planStop(operation.state)
  }
}

/** The attribute that names a service in a request. `id` is canonical. */
export function namedService(id: ServiceId): Buffer {
  return nested(SERVICE, composeServiceId(id))
}

function planService(operation: ServiceOperation): Plan {
  if (operation.op === 'remove-service') {
    const id = canonicalServiceId(operation.service)
    return one('remove service', describeService(id), COMMAND.DEL_SERVICE, [namedService(id)])
  }
  const service = canonicalService(operation.service)
  const attributes = [nested(SERVICE, composeService(service))]
  const subject: Subject = {
    command: wordsOf(operation.op),
    what: describeService(service),
    advice: {
      EEXIST: 'it exists already; update it instead',
      ENOENT: describeMissingModule(service),
    },
  }
  const { NEW_SERVICE, SET_SERVICE } = COMMAND
  return { subject, steps: stepsOf(operation.op, NEW_SERVICE, SET_SERVICE, attributes) }
}

function planDestination(operation: DestinationOperation): Plan {
  const service = canonicalServiceId(operation.service)
  const subject: Subject = {
    command: wordsOf(operation.op),
    what: `${describeDestination(operation.destination)} of ${describeService(service)}`,
    advice: {
      EEXIST: 'it exists already; update it instead',
      ENOENT: 'there is no such destination; create it first',
    },
  }
  if (operation.op === 'remove-destination') {
    const id = canonicalDestinationId(operation.destination)
    const attributes = [namedService(service), nested(DESTINATION, composeDestinationId(id))]
    return { subject, steps: [{ command: COMMAND.DEL_DEST, attributes }] }
  }
  const destination = canonicalDestination(operation.destination, service)
  const attributes = [namedService(service), nested(DESTINATION, composeDestination(destination))]
  const { NEW_DEST, SET_DEST } = COMMAND
  return { subject, steps: stepsOf(operation.op, NEW_DEST, SET_DEST, attributes) }
}

function planZero(service: ServiceId | undefined): Plan {
  if (service === undefined) return one('zero', 'the counters of all services', COMMAND.ZERO, [])
  const id = canonicalServiceId(service)
  return one('zero', `the counters of ${describeService(id)}`, COMMAND.ZERO, [namedService(id)])
}

function planTimeouts(timeouts: Partial<Timeouts>): Plan {
  const canonical = canonicalTimeouts(timeouts)
  const what = Object.entries(canonical)
    .map(([name, seconds]) => `${name} to ${seconds}`)
    .join(', ')
  const plan = one('set timeouts', what, COMMAND.SET_CONFIG, composeTimeouts(canonical))
  const advice = { EINVAL: 'a time-out is longer than the kernel can count' }
  return { ...plan, subject: { ...plan.subject, advice } }
}

function planStart(wished: SyncDaemon): Plan {
  const daemon = canonicalDaemon(wished)
  const { state } = daemon
  const attributes = [nested(DAEMON, composeDaemon(daemon))]
  const plan = one(
    'start daemon',
    `${state} on ${daemon.interface}`,
    COMMAND.NEW_DAEMON,
    attributes,
  )
  const advice = {
    EEXIST: `a ${state} runs already; stop it first`,
    EINVAL: 'sync excludes services with a destination of the other address family',
    ENODEV: `there is no interface "${daemon.interface}"`,
  }
  return { ...plan, subject: { ...plan.subject, advice } }
}

function planStop(state: SyncState): Plan {
  checkChoice(state, 'daemon state', ['master', 'backup'])
  const attributes = [nested(DAEMON, composeSyncState(state))]
  const plan = one('stop daemon', state, COMMAND.DEL_DAEMON, attributes)
  const advice = { ESRCH: 'none runs' }
  return { ...plan, subject: { ...plan.subject, advice } }
}

function one(command: string, what: string, number: number, attributes: readonly Buffer[]): Plan {
  return { subject: { command, what }, steps: [{ command: number, attributes }] }
}

/** Both of an `ensure`, always: only the update makes sure of the weight that was there before. */
function stepsOf(
  op: string,
  create: number,
  update: number,
  attributes: readonly Buffer[],
): readonly Step[] {
  const steps = [
    { command: create, attributes },
    { command: update, attributes },
  ]
  if (op.startsWith('ensure')) return steps
  return op.startsWith('create') ? steps.slice(0, 1) : steps.slice(1)
}

/** `create service` of `create-service`. */
function wordsOf(op: string): string {
  return op.replace('-', ' ')
}

function describeMissingModule({ scheduler, persistenceEngine }: Service): string {
  const engine =
    persistenceEngine === undefined
      ? ''
      : ` or no persistence engine "${persistenceEngine}" (\`modprobe ip_vs_pe_${persistenceEngine}\`)`
  return `this kernel has no scheduler "${scheduler}" (\`modprobe ip_vs_${scheduler}\`)${engine}`
}
