/** Decides what to say to one question. Pure: no socket, no clock, no random, no bytes. */

import { type Found, find } from './find.js'
import { type NameKey, parentStart } from './name.js'
import { selectSets } from './owner.js'
import { EDE, type ExtendedError, RCODE } from './rcode.js'
import { reverseApex } from './reverse.js'
import { CLASS, TYPE } from './rr.js'
import type { Rrset } from './rrset.js'
import type { View } from './view.js'

/** One question; a parsed Query is one. */
export interface Question {
  readonly name: NameKey
  readonly type: number
  readonly class: number
}

/** `apex` is where the SOA's owner starts in the question's name; its length is the root. */
export type Disposition =
  | { readonly kind: 'answer'; readonly sets: readonly Rrset[] }
  | { readonly kind: 'no-data'; readonly apex: number } //     the name exists, this type does not
  | { readonly kind: 'name-error'; readonly apex: number } //  NXDOMAIN, ours to deny
  | { readonly kind: 'failure'; readonly rcode: number; readonly error: ExtendedError }
  | { readonly kind: 'forward' } //                            not ours: ask the upstreams

const forward: Disposition = { kind: 'forward' }
const metaType = failure(RCODE.FORMERR, EDE.OTHER, 'not a type to ask for')
const noTransfer = failure(RCODE.REFUSED, EDE.NOT_SUPPORTED, 'no zone transfer')
const noClass = failure(RCODE.REFUSED, EDE.NOT_SUPPORTED, 'class IN only')
const internal = failure(RCODE.SERVFAIL, EDE.PROHIBITED, 'internal network: nothing is forwarded')
const detached = failure(RCODE.SERVFAIL, EDE.NETWORK_ERROR, 'not attached to any network')

/**
 * Decides how `view` answers `question`. Whether a name exists is decided once for all types:
 * NXDOMAIN for the AAAA of a name with only an A makes stubs drop the A (RFC 4074 §4.2).
 */
export function decide(question: Question, view: View): Disposition {
  const { type } = question
  if (type === TYPE.OPT || type === TYPE.TSIG) return metaType
  if (question.class !== CLASS.IN && question.class !== CLASS.ANY) return noClass
  if (type === TYPE.AXFR || type === TYPE.IXFR) return noTransfer
  const match = find(view, question.name)
  return match === undefined ? decideForeign(question.name, view) : decideFound(match, type)
}

function decideFound(match: Found, type: number): Disposition {
  if (match.kind !== 'owner') return { kind: match.kind, apex: match.apex }
  const sets = selectSets(match.owner, type)
  return sets.length === 0 ? { kind: 'no-data', apex: match.apex } : { kind: 'answer', sets }
}

/** A name that no network of this host owns. */
function decideForeign(name: NameKey, view: View): Disposition {
  const isSingleLabel = name !== '' && parentStart(name) === name.length
  const root = name.length
  if (view.canForward) {
    if (!isSingleLabel || view.singleLabels === 'forward') return forward
    // NODATA and not NXDOMAIN: the client goes on with its search list (moby#53104).
    if (view.singleLabels === 'search') return { kind: 'no-data', apex: 0 }
    return { kind: 'name-error', apex: root }
  }
  if (isSingleLabel) return { kind: 'name-error', apex: root }
  if (view.isDetached) return detached
  const reverse = reverseApex(name)
  if (reverse !== undefined) return { kind: 'name-error', apex: root - reverse.length }
  // musl takes only NXDOMAIN for a quick no; podman has always said so.
  return view.isPodman ? { kind: 'name-error', apex: root } : internal
}

function failure(rcode: number, code: number, text: string): Disposition {
  return { kind: 'failure', rcode, error: { code, text } }
}
