/** Starts the services of a project as their `depends_on` conditions come true, the rest at once. */

import { errorMessage } from '../base/error.js'
import { replicasOf, type Catalog, type Snapshot } from '../catalog/catalog.js'
import type { Container } from '../catalog/container.js'
import type { ProjectSpec } from '../catalog/project.js'
import type { Dependency } from '../catalog/service.js'

export interface StartOptions {
  readonly spec: ProjectSpec
  readonly catalog: Catalog
  /** Starts one container; failures are its own to report. */
  readonly start: (container: Container) => Promise<void>
  /** For each wait on a dependency. */
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/** Resolves when every service was started or given up; returns a sentence for each given up. */
export async function startProject(options: StartOptions): Promise<string[]> {
  const { spec, catalog } = options
  const failures: string[] = []
  const started = new Map<string, Promise<void>>()
  for (const service of spec.services) {
    const run = async (): Promise<void> => {
      for (const dependency of service.dependsOn) {
        await started.get(dependency.service)
        const what = `Service "${service.name}" was not started: "${dependency.service}"`
        await waitForDependency(options, what, dependency)
      }
      const replicas = replicasOf(catalog.snapshot, spec.name, service.name)
      await Promise.all(replicas.map(options.start))
    }
    started.set(
      service.name,
      run().catch((error: unknown) => {
        failures.push(errorMessage(error))
      }),
    )
  }
  await Promise.all(started.values())
  return failures
}

type Progress = 'waiting' | 'met' | { readonly failure: string }

/** Resolves when the condition holds; `what` begins the sentence of the error where it will not. */
export async function waitForDependency(
  options: Omit<StartOptions, 'start'>,
  what: string,
  dependency: Dependency,
): Promise<void> {
  const { spec, catalog, timeoutMs, signal } = options
  const judge = (snapshot: Snapshot): Progress => progressOf(snapshot, spec.name, dependency)
  await new Promise<void>((resolve, reject) => {
    const settle = (error?: Error): void => {
      unsubscribe()
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      // An optional dependency that fails is as good as one that is not there.
      if (error === undefined || !dependency.isRequired) resolve()
      else reject(error)
    }
    const check = (snapshot: Snapshot): void => {
      const progress = judge(snapshot)
      if (progress === 'met') settle()
      else if (progress !== 'waiting') settle(new Error(`${what} ${progress.failure}`))
    }
    const onAbort = (): void =>
      settle(new Error(`${what} was waited for, and another command came`))
    const unsubscribe = catalog.subscribe(check)
    const timer = setTimeout(
      () => settle(new Error(`${what} is not ${wanted(dependency)} after ${timeoutMs / 1000} s`)),
      timeoutMs,
    )
    signal.addEventListener('abort', onAbort)
    if (signal.aborted) onAbort()
    else check(catalog.snapshot)
  })
}

function progressOf(snapshot: Snapshot, project: string, dependency: Dependency): Progress {
  const replicas = replicasOf(snapshot, project, dependency.service)
  const statuses = replicas.flatMap(({ id }) => snapshot.statuses.get(id) ?? [])
  const failed = statuses.find(({ failure, state }) => failure !== undefined && state === 'exited')
  if (failed) return { failure: `could not be started` }
  switch (dependency.condition) {
    case 'service_started':
      return 'met'
    case 'service_healthy':
      if (statuses.some(({ health }) => health === 'unhealthy')) return { failure: 'is unhealthy' }
      if (statuses.some(({ state }) => state === 'exited')) return { failure: 'has exited' }
      return statuses.every(({ state, health }) => state === 'running' && health === 'healthy')
        ? 'met'
        : 'waiting'
    case 'service_completed_successfully': {
      const bad = statuses.find(({ state, exitCode }) => state === 'exited' && exitCode !== 0)
      if (bad) return { failure: `ended with exit code ${bad.exitCode}` }
      return statuses.every(({ state }) => state === 'exited') ? 'met' : 'waiting'
    }
  }
}

function wanted({ condition }: Dependency): string {
  return condition.replace('service_', '').replaceAll('_', ' ')
}
