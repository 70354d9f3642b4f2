/**
 * Checks the plain options of `Resolver.open` and turns them into a view. Pure: a wrong option is
 * one sentence that says what to write instead; nothing is opened here.
 */

import { isIP } from 'node:net'
import { CodedError } from '../src/base/error.js'
import { compileView } from './view.js'
import { compileZone, listSkipped } from './zone.js'
import type { ForwardPolicy, UpstreamAddress } from './forward/policy.js'
import type { View } from './view.js'
import type { NetworkNames, NetworkZone } from './zone.js'

export class OptionError extends CodedError<
  'OPTION_BAD_ADDRESS' | 'OPTION_BAD_PORT' | 'OPTION_BAD_UPSTREAM' | 'OPTION_BAD_NETWORK'
> {}

/** What one resolver on one address answers from. */
export interface LocalNames {
  /** In lookup order: the first network that has a name answers it. Default none. */
  readonly networks?: readonly NetworkNames[]
  /**
   * Whom to ask for all other names, in order: `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]:PORT`.
   * Default none: unknown names of one label are denied, the rest is SERVFAIL.
   */
  readonly upstreams?: readonly string[]
  /** A private domain for all names, such as `test.internal`. */
  readonly suffix?: string
}

/** Checks where to listen. Throws OptionError `OPTION_BAD_ADDRESS`, `OPTION_BAD_PORT`. */
export function checkPlace(address: string, port: number): void {
  if (isIP(address) === 0) {
    throw new OptionError(
      'OPTION_BAD_ADDRESS',
      `Cannot listen on "${address}": it is not an IP address; write one such as 127.0.0.1`,
    )
  }
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new OptionError(
      'OPTION_BAD_PORT',
      `Cannot listen on port ${port}: write a number from 0 to 65535, 0 for any free port`,
    )
  }
}

/** Compiles a network whose every part is usable. Throws OptionError `OPTION_BAD_NETWORK`. */
export function compileNetwork(names: NetworkNames): NetworkZone {
  const zone = compileZone(names)
  checkZone(zone)
  return zone
}

/** Throws OptionError `OPTION_BAD_NETWORK` where a part of the network had to be left out. */
export function checkZone(zone: NetworkZone): void {
  const [first] = listSkipped(zone)
  if (first === undefined) return
  throw new OptionError('OPTION_BAD_NETWORK', `Cannot use network "${zone.name}": ${first}`)
}

/** The view of somebody on all of `networks`. Throws OptionError, and ResolverError for `suffix`. */
export function composeLocalView(networks: readonly NetworkZone[], names: LocalNames): View {
  const upstreams = (names.upstreams ?? []).map(parseUpstream)
  const forwarding: ForwardPolicy = { upstreams }
  const hasUpstreams = upstreams.length > 0
  return compileView({
    networks,
    hasExternalAccess: hasUpstreams,
    ...(hasUpstreams ? { forwarding } : {}),
    ...(names.suffix === undefined ? {} : { suffix: names.suffix }),
  })
}

/** Parses `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`. Throws OptionError. */
export function parseUpstream(text: string): UpstreamAddress {
  if (isIP(text) !== 0) return { address: text, via: 'host' }
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text)
  const address = match?.[1] ?? match?.[2] ?? ''
  const port = Number(match?.[3])
  if (isIP(address) === 0 || !(port >= 1 && port <= 65535)) {
    throw new OptionError(
      'OPTION_BAD_UPSTREAM',
      `Cannot forward to "${text}": write ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT with an IP address`,
    )
  }
  return { address, port, via: 'host' }
}
