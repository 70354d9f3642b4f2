/**
 * The client: one netlink socket in one network namespace, and a method for everything that IPVS can
 * be told or asked. Every call is synchronous and, but for what loads a kernel module or waits for a
 * kernel thread, takes microseconds.
 */
import { canonicalServiceId } from './canonical.js'
import { COMMAND, FAMILY_NAME } from './command.js'
import type { SyncDaemon, SyncDaemonStatus, SyncState } from './daemon.js'
import type { Destination, DestinationId, DestinationStatus } from './destination.js'
import { badReply, IpvsError } from './error.js'
import { checkNumber } from './input.js'
import { runInNetns } from './netns.js'
import {
  namedService,
  planOperation,
  type Operation,
  type OperationResult,
  type Plan,
} from './operation.js'
import { holdBack, loseChange, refuse, type Subject } from './refusal.js'
import { describeService, type Service, type ServiceId, type ServiceStatus } from './service.js'
import type { Info, Timeouts } from './settings.js'
import { GenericSocket, type Answer } from './socket.js'
import { parseAttributes, readBytes } from './wire/attribute.js'
import { DAEMON, parseDaemon } from './wire/daemon.js'
import { DESTINATION, parseDestination } from './wire/destination.js'
import { composeFamilyQuestion, parseFamilyId, parseGeneric, type Request } from './wire/message.js'
import { parseService, SERVICE } from './wire/service.js'
import { parseInfo, parseTimeouts } from './wire/settings.js'

export interface OpenOptions {
  /**
   * The network namespace to work in: a path (`/run/netns/x`, `/proc/PID/ns/net`) or a descriptor.
   * Default: the calling thread's, at this moment.
   */
  readonly netns?: string | number
  /** How long the kernel's answer may take before it counts as lost. Default 5000. */
  readonly timeoutMs?: number
  /** Of the socket. Default: the system's. A small one costs speed and loses nothing. */
  readonly receiveBufferBytes?: number
}

const LONGEST_TIMEOUT_MS = 3_600_000
const MOST_BUFFER_BYTES = 0x3fff_ffff
const LOOKUP: Subject = { command: 'look up', what: 'the IPVS netlink family' }
const REFUSED_ENOENT = 2
const REFUSED_EEXIST = 17

export class Ipvs {
  readonly #socket: GenericSocket
  #family: number

  private constructor(socket: GenericSocket, family: number) {
    this.#socket = socket
    this.#family = family
  }

  /**
   * Opens a client in one network namespace, where it stays: the namespace matters during this call
   * only. The kernel may load its module `ip_vs` for it.
   *
   * Throws IpvsError: `IPVS_UNAVAILABLE` where the kernel has no IPVS, `IPVS_BAD_INPUT`, or an errno.
   */
  static open(options: OpenOptions = {}): Ipvs {
    const { netns, timeoutMs, receiveBufferBytes } = options
    if (timeoutMs !== undefined) checkNumber(timeoutMs, 'timeoutMs', 1, LONGEST_TIMEOUT_MS)
    if (receiveBufferBytes !== undefined) {
      checkNumber(receiveBufferBytes, 'receiveBufferBytes', 0, MOST_BUFFER_BYTES)
    }
    const make = (): GenericSocket => new GenericSocket({ timeoutMs, receiveBufferBytes })
    const socket = netns === undefined ? make() : runInNetns(netns, make)
    try {
      return new Ipvs(socket, lookUpFamily(socket))
    } catch (error) {
      socket.close()
      throw error
    }
  }

  /** Lets go of the socket; what was configured stays. Closing again does nothing. */
  close(): void {
    this.#socket.close()
  }

  /** Throws IpvsError `EEXIST`, `ENOENT` (no such scheduler), `IPVS_BAD_INPUT`. */
  createService(service: Service): void {
    this.#run({ op: 'create-service', service })
  }

  /** Changes all but the id. Throws IpvsError `ESRCH`, `ENOENT` (no such scheduler), `IPVS_BAD_INPUT`. */
  updateService(service: Service): void {
    this.#run({ op: 'update-service', service })
  }

  /** Creates or updates it. Throws IpvsError `ENOENT` (no such scheduler), `IPVS_BAD_INPUT`. */
  ensureService(service: Service): void {
    this.#run({ op: 'ensure-service', service })
  }

  /** With its destinations. Throws IpvsError `ESRCH`, `IPVS_BAD_INPUT`. */
  removeService(service: ServiceId): void {
    this.#run({ op: 'remove-service', service })
  }

  /** Throws IpvsError `ESRCH`, `IPVS_BAD_INPUT`. */
  getService(service: ServiceId): ServiceStatus {
    const id = canonicalServiceId(service)
    const subject = { command: 'get service', what: describeService(id) }
    const reply = this.#get(COMMAND.GET_SERVICE, [namedService(id)], subject)
    return parseService(nestOf(reply, SERVICE))
  }

  /** A table that somebody else changes meanwhile may miss an entry or give one twice. */
  listServices(): readonly ServiceStatus[] {
    const subject = { command: 'list', what: 'services' }
    const replies = this.#dump(COMMAND.GET_SERVICE, [], subject)
    return replies.map(reply => parseService(nestOf(reply, SERVICE)))
  }

  /** Throws IpvsError `EEXIST`, `ESRCH` (no such service), `IPVS_BAD_INPUT`. */
  createDestination(service: ServiceId, destination: Destination): void {
    this.#run({ op: 'create-destination', service, destination })
  }

  /** Throws IpvsError `ENOENT`, `ESRCH` (no such service), `IPVS_BAD_INPUT`. */
  updateDestination(service: ServiceId, destination: Destination): void {
    this.#run({ op: 'update-destination', service, destination })
  }

  /** Creates or updates it: the weight is the given one, also where one of weight 0 was there. */
  ensureDestination(service: ServiceId, destination: Destination): void {
    this.#run({ op: 'ensure-destination', service, destination })
  }

  /** Its connections end. Throws IpvsError `ENOENT`, `ESRCH` (no such service), `IPVS_BAD_INPUT`. */
  removeDestination(service: ServiceId, destination: DestinationId): void {
    this.#run({ op: 'remove-destination', service, destination })
  }

  /** Throws IpvsError `ESRCH` where there is no such service, `IPVS_BAD_INPUT`. */
  listDestinations(service: ServiceId): readonly DestinationStatus[] {
    const id = canonicalServiceId(service)
    const subject = { command: 'list', what: `destinations of ${describeService(id)}` }
    const replies = this.#dump(COMMAND.GET_DEST, [namedService(id)], subject)
    // Of a missing service the kernel gives an empty table, and of one removed meanwhile a part.
    this.#get(COMMAND.GET_SERVICE, [namedService(id)], subject)
    return replies.map(reply => parseDestination(nestOf(reply, DESTINATION)))
  }

  /** Of idle connections, in this namespace. */
  getTimeouts(): Timeouts {
    const subject = { command: 'get', what: 'timeouts' }
    return parseTimeouts(parseGeneric(this.#get(COMMAND.GET_CONFIG, [], subject)).attributes)
  }

  /** What is left out stays. Throws IpvsError `EINVAL` (too long), `IPVS_BAD_INPUT`. */
  setTimeouts(timeouts: Partial<Timeouts>): void {
    this.#run({ op: 'set-timeouts', timeouts })
  }

  getInfo(): Info {
    const reply = this.#get(COMMAND.GET_INFO, [], { command: 'get', what: 'info' })
    return parseInfo(parseGeneric(reply).attributes)
  }

  listDaemons(): readonly SyncDaemonStatus[] {
    const replies = this.#dump(COMMAND.GET_DAEMON, [], { command: 'list', what: 'daemons' })
    return replies.map(reply => parseDaemon(nestOf(reply, DAEMON)))
  }

  /** Throws IpvsError `EEXIST` (one of that state runs), `ENODEV`, `IPVS_BAD_INPUT`. */
  startDaemon(daemon: SyncDaemon): void {
    this.#run({ op: 'start-daemon', daemon })
  }

  /** Throws IpvsError `ESRCH` where none of that state runs. */
  stopDaemon(state: SyncState): void {
    this.#run({ op: 'stop-daemon', state })
  }

  /** Sets the counters to 0, of one service and its destinations or of all. Throws IpvsError `ESRCH`. */
  zero(service?: ServiceId): void {
    this.#run(service === undefined ? { op: 'zero' } : { op: 'zero', service })
  }

  /** Removes every service of the namespace. */
  flush(): void {
    this.#run({ op: 'flush' })
  }

  /**
   * Many changes in few system calls, in order; one result for each. A failed one does not keep the
   * later ones back, and nothing is undone: IPVS has no transactions. Throws IpvsError only where none
   * of them can be sent: `IPVS_CLOSED`, `IPVS_UNAVAILABLE`.
   */
  batch(operations: readonly Operation[]): readonly OperationResult[] {
    const plans = operations.map(planSafely)
    const requests = plans.flatMap(plan =>
      plan instanceof IpvsError ? [] : this.#requestsOf(plan),
    )
    const answers = this.#change(requests)
    let at = 0
    return plans.map(plan => {
      if (plan instanceof IpvsError) return { kind: 'failed', error: plan }
      const own = answers.slice(at, (at += plan.steps.length))
      return judge(plan, own)
    })
  }

  #run(operation: Operation): void {
    const plan = planOperation(operation)
    const result = judge(plan, this.#change(this.#requestsOf(plan)))
    if (result.kind === 'failed') throw result.error
  }

  #requestsOf(plan: Plan): readonly Request[] {
    return plan.steps.map(step => ({ ...step, family: this.#family }))
  }

  /** ENOENT is also what the kernel says where the family is gone, or came back with another id. */
  #change(requests: readonly Request[]): readonly Answer[] {
    const answers = this.#socket.change(requests)
    const first = answers.findIndex(answer => errnoOf(answer) === REFUSED_ENOENT)
    if (first < 0 || !this.#isFamilyNew()) return answers
    const rest = requests.slice(first).map(request => ({ ...request, family: this.#family }))
    return [...answers.slice(0, first), ...this.#socket.change(rest)]
  }

  #get(command: number, attributes: readonly Buffer[], subject: Subject): Buffer {
    return this.#ask(family => this.#socket.get({ family, command, attributes }, subject))
  }

  #dump(command: number, attributes: readonly Buffer[], subject: Subject): readonly Buffer[] {
    return this.#ask(family => this.#socket.dump({ family, command, attributes }, subject))
  }

  #ask<T extends Buffer | readonly Buffer[]>(body: (family: number) => T): T {
    try {
      return body(this.#family)
    } catch (error) {
      const isMissing = error instanceof IpvsError && error.code === 'ENOENT'
      if (!isMissing || !this.#isFamilyNew()) throw error
      return body(this.#family)
    }
  }

  #isFamilyNew(): boolean {
    const before = this.#family
    this.#family = lookUpFamily(this.#socket)
    return this.#family !== before
  }
}

function lookUpFamily(socket: GenericSocket): number {
  try {
    return parseFamilyId(socket.get(composeFamilyQuestion(FAMILY_NAME), LOOKUP))
  } catch (cause) {
    if (!(cause instanceof IpvsError) || cause.code !== 'ENOENT') throw cause
    const sentence =
      'Cannot use IPVS: this kernel has none, or its module is not loaded; `modprobe ip_vs` loads it'
    throw new IpvsError('IPVS_UNAVAILABLE', sentence, { ...LOOKUP, cause })
  }
}

function planSafely(operation: Operation): Plan | IpvsError {
  try {
    return planOperation(operation)
  } catch (error) {
    if (error instanceof IpvsError) return error
    throw error
  }
}

/** The last step decides, unless the first of two was refused for more than being there already. */
function judge({ subject, steps }: Plan, answers: readonly Answer[]): OperationResult {
  const last = answers[steps.length - 1]
  if (last === undefined) throw badReply('The kernel gave fewer answers than there were requests')
  const [first = last] = answers
  if (errnoOf(last) === 0) return { kind: 'done' }
  const isFirstAtFault = ![0, REFUSED_EEXIST].includes(errnoOf(first) ?? 0)
  const answer = steps.length > 1 && isFirstAtFault ? first : last
  const error = errorOf(subject, answer)
  return { kind: 'failed', error }
}

function errorOf(subject: Subject, answer: Answer): IpvsError {
  switch (answer.kind) {
    case 'verdict':
      return refuse(subject, answer.verdict)
    case 'lost':
      return loseChange(subject, answer.loss)
    case 'unsent':
      return holdBack(subject)
  }
}

function errnoOf(answer: Answer): number | undefined {
  return answer.kind === 'verdict' ? answer.verdict.errno : undefined
}

/** The nest of `type` in a generic netlink message. */
function nestOf(payload: Buffer, type: number): Buffer {
  return readBytes(parseAttributes(parseGeneric(payload).attributes), type, 0)
}
