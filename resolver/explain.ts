/** Says why a view answers a question as it does: for `portolan explain` and the status page. */

import { DROP, FORWARD, Responder } from './answer.js'
import { decide } from './decide.js'
import { type Found, find } from './find.js'
import { foldName, formatName, parseName } from './name.js'
import { CLASS, formatType } from './rr.js'
import type { View } from './view.js'
import { type TextRecord, parseMessage } from './wire/message-text.js'
import { composeQuery } from './wire/query.js'

export interface Explanation {
  readonly name: string
  readonly type: string
  readonly outcome: 'answer' | 'no-data' | 'name-error' | 'failure' | 'forward'
  /** The network whose records or ownership decided, where one did. */
  readonly network: string | undefined
  /** Who claims the name: `endpoint ID`, `service GROUP/NAME`. */
  readonly sources: readonly string[]
  readonly answers: readonly TextRecord[]
  /** One sentence. */
  readonly reason: string
}

/** Explains the question for `name`, given as text. Throws ResolverError `NAME_INVALID`. */
export function explain(view: View, name: string, type: number): Explanation {
  const key = name === '.' ? '' : foldName(parseName(name))
  const disposition = decide({ name: key, type, class: CLASS.IN }, view)
  const match = disposition.kind === 'failure' ? undefined : find(view, key)
  const claims = match?.kind === 'owner' ? match.owner.claims : []
  return {
    name: formatName(key),
    type: formatType(type),
    outcome: disposition.kind,
    network: match?.zone?.name,
    sources: [...new Set(claims.map(claim => claim.source))].sort(),
    answers: answersOf(view, name, type),
    reason:
      disposition.kind === 'failure'
        ? disposition.error.text
        : reasonOf(view, match, disposition.kind),
  }
}

function answersOf(view: View, name: string, type: number): readonly TextRecord[] {
  const query = composeQuery({ name, type })
  const out = Buffer.alloc(0xffff)
  const length = new Responder().respond(view, query, 0, query.length, 'tcp', out, 0)
  return length === DROP || length === FORWARD ? [] : parseMessage(out.subarray(0, length)).answers
}

function reasonOf(view: View, match: Found | undefined, outcome: Explanation['outcome']): string {
  if (match === undefined) return reasonOfForeign(view, outcome)
  const network = match.zone === undefined ? 'no network' : `network "${match.zone.name}"`
  const verb = match.kind === 'name-error' ? 'denied' : 'found'
  switch (match.rule) {
    case 'link':
      return `found as a link alias of this sandbox on ${network}`
    case 'name':
      return `found on ${network}, the first that has the name`
    case 'network':
      return match.zone === undefined
        ? 'denied: the last label is a network of this host that is not attached'
        : `${verb} as a name below ${network}`
    case 'wildcard':
      return `found through a wildcard alias on ${network}`
    case 'reverse':
      return match.zone === undefined
        ? 'denied: the address is in a network of this host that is not attached'
        : `${verb} in a subnet of ${network}`
    case 'special':
      return `${verb}: the name has a fixed meaning`
    case 'suffix':
      return `${verb} below the private suffix ${formatName(view.suffix ?? '')}`
    case 'service-port':
      if (match.kind === 'no-data') return `found as the parent of service ports on ${network}`
      return `denied: the parent name is on ${network} and has no such port`
  }
}

function reasonOfForeign(view: View, outcome: Explanation['outcome']): string {
  if (outcome === 'forward') return 'forwarded: no attached network has the name'
  if (!view.canForward) return 'denied: nothing leaves this sandbox'
  if (outcome === 'no-data')
    return 'left to the search list: ndots is set and the name has one label'
  return 'denied: names of one label are not forwarded'
}
