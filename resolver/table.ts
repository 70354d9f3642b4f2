/**
 * An immutable map from strings, spread over small shards: a changed copy shares every shard the
 * change does not touch, so its cost follows the change and not the table.
 */

/** Entries a shard holds on average after building; between 1/4 and 4 times this after changes. */
const SHARD_ENTRIES = 32
const MAX_SHARDS = 4096

/** Shared by every empty shard; never written. */
const emptyShard: ReadonlyMap<string, never> = new Map<string, never>()

export class Table<V> {
  readonly size: number
  readonly #shards: readonly ReadonlyMap<string, V>[]
  readonly #mask: number

  private constructor(shards: readonly ReadonlyMap<string, V>[], size: number) {
    this.#shards = shards
    this.#mask = shards.length - 1
    this.size = size
  }

  static empty<V>(): Table<V> {
    return new Table<V>([emptyShard], 0)
  }

  get(key: string): V | undefined {
    const mask = this.#mask
    return this.#shards[mask === 0 ? 0 : hash(key) & mask]?.get(key)
  }

  /** A copy with `changes` applied; a key set to undefined is removed. */
  with(changes: ReadonlyMap<string, V | undefined>): Table<V> {
    if (changes.size === 0) return this
    const wanted = shardCount(this.size + changes.size)
    if (wanted > this.#shards.length * 4) return this.#rebuild(changes, wanted)
    const shards = [...this.#shards]
    const own = new Map<number, Map<string, V>>()
    let size = this.size
    for (const [key, value] of changes) {
      const index = hash(key) & this.#mask
      const shard = own.get(index) ?? new Map<string, V>(shards[index])
      own.set(index, shard)
      shards[index] = shard
      size -= shard.size
      if (value === undefined) shard.delete(key)
      else shard.set(key, value)
      size += shard.size
    }
    return new Table<V>(shards, size)
  }

  *entries(): Generator<[string, V]> {
    for (const shard of this.#shards) yield* shard
  }

  #rebuild(changes: ReadonlyMap<string, V | undefined>, count: number): Table<V> {
    const shards: Map<string, V>[] = Array.from({ length: count }, () => new Map<string, V>())
    const put = (key: string, value: V): unknown => shards[hash(key) & (count - 1)]?.set(key, value)
    for (const [key, value] of this.entries()) if (!changes.has(key)) put(key, value)
    for (const [key, value] of changes) if (value !== undefined) put(key, value)
    return new Table<V>(
      shards,
      shards.reduce((sum, shard) => sum + shard.size, 0),
    )
  }
}

function shardCount(entries: number): number {
  let count = 1
  while (count * SHARD_ENTRIES < entries && count < MAX_SHARDS) count *= 2
  return count
}

/** FNV-1a over the characters, its high half folded in. */
function hash(key: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < key.length; i++) h = Math.imul(h ^ key.charCodeAt(i), 0x01000193)
  return h ^ (h >>> 15)
}
