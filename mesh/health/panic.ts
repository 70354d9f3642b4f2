/** Decides which replicas of a service get traffic, also when none is ready. Pure. */

export interface ServingCandidate {
  readonly id: string
  /** It runs and is not draining. */
  readonly isServing: boolean
  readonly isReady: boolean
}

export interface ServingSet<Replica extends ServingCandidate> {
  /** In the order given. */
  readonly replicas: readonly Replica[]
  /** True where unready replicas are in the set because none is ready. */
  readonly isPanic: boolean
}

/**
 * The ready replicas among those that serve. Where none is ready: with `panic` (default true) all
 * that serve, because probes that fail everywhere say more of the probes than of the replicas; without
 * it none, and connections are refused.
 */
export function servingSet<Replica extends ServingCandidate>(
  replicas: readonly Replica[],
  { panic = true }: { readonly panic?: boolean } = {},
): ServingSet<Replica> {
  const serving = replicas.filter(replica => replica.isServing)
  const ready = serving.filter(replica => replica.isReady)
  if (ready.length > 0 || serving.length === 0 || !panic) return { replicas: ready, isPanic: false }
  return { replicas: serving, isPanic: true }
}
