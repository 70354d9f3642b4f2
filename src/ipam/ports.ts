/**
 * Which port of the host a service gets: the declared one where nobody has it, else one of the range
 * for those that leave the choice to us. Pure; knows of listeners what it is told.
 */

import { CodedError } from '../base/error.js'

export type PortProtocol = 'tcp' | 'udp' | 'sctp'

/** A port of the host, at one of its addresses or at all. */
export interface HostPort {
  readonly protocol: PortProtocol
  readonly port: number
  /** Absent: every address. */
  readonly address?: string
}

export interface HeldPort extends HostPort {
  /** For messages: `service "web" of project "shop"`. */
  readonly owner: string
}

/** A wish: without `port`, any free one of the dynamic range. */
export type PortWish = Omit<HostPort, 'port'> & { readonly port?: number }

export class PortError extends CodedError<'PORT_IN_USE' | 'PORT_NONE_FREE'> {}

/** Swarm's range, below the one that Linux takes local ports of connections from. */
export const dynamicPorts = { first: 30_000, last: 32_767 } as const

export interface PortContext {
  /** Ports of other services. */
  readonly held: readonly HeldPort[]
  /** Who of the host's own programs has it; undefined where nobody does. */
  readonly listenerAt: (port: HostPort) => string | undefined
}

/**
 * One port a wish, in order. `owner` begins the sentence of the error. Throws PortError
 * `PORT_IN_USE` for a declared one that somebody has, `PORT_NONE_FREE` where the range is used up.
 */
export function allocatePorts(
  owner: string,
  wishes: readonly PortWish[],
  context: PortContext,
): number[] {
  const book = new PortBook(context.held)
  const chosen = new Map<PortWish, number>()
  const take = (wish: PortWish, port: number): void => {
    chosen.set(wish, port)
    book.add({ ...wish, port, owner })
  }
  // Declared ones first, so that none of them is given away by choice.
  for (const wish of wishes) {
    if (wish.port === undefined) continue
    const host = { ...wish, port: wish.port }
    const holder = book.holderOf(host) ?? context.listenerAt(host)
    if (holder !== undefined) throw inUse(owner, host, holder)
    take(wish, wish.port)
  }
  for (const wish of wishes) {
    if (wish.port !== undefined) continue
    take(wish, chooseFree(owner, wish, book, context))
  }
  return wishes.flatMap(wish => chosen.get(wish) ?? [])
}

function chooseFree(
  owner: string,
  wish: PortWish,
  book: PortBook,
  { listenerAt }: PortContext,
): number {
  for (let port: number = dynamicPorts.first; port <= dynamicPorts.last; port++) {
    const host = { ...wish, port }
    if (book.holderOf(host) === undefined && listenerAt(host) === undefined) return port
  }
  throw new PortError(
    'PORT_NONE_FREE',
    `Cannot publish a ${wish.protocol} port of ${owner}: all of ${dynamicPorts.first}-${dynamicPorts.last} are in use; name one to publish`,
  )
}

function inUse(owner: string, { protocol, port, address }: HostPort, holder: string): PortError {
  const where = address === undefined ? '' : ` at ${address}`
  return new PortError(
    'PORT_IN_USE',
    `Cannot publish port ${port}/${protocol}${where} for ${owner}: ${holder} has it; publish another port or end that one`,
  )
}

/** Who has which port, by protocol and number. */
class PortBook {
  readonly #holders = new Map<string, HeldPort[]>()

  constructor(held: readonly HeldPort[]) {
    for (const port of held) this.add(port)
  }

  add(held: HeldPort): void {
    const key = `${held.port}/${held.protocol}`
    const known = this.#holders.get(key)
    if (known === undefined) this.#holders.set(key, [held])
    else known.push(held)
  }

  holderOf({ protocol, port, address }: HostPort): string | undefined {
    const known = this.#holders.get(`${port}/${protocol}`) ?? []
    const isSame = (other: HeldPort): boolean =>
      address === undefined || other.address === undefined || address === other.address
    return known.find(isSame)?.owner
  }
}
