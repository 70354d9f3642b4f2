/**
 * The keys of the Compose Specification: those with a meaning here, those that only a container
 * engine can honour (named once in a warning), and the rest, which are mistakes.
 */

import type { z } from 'zod'
import { suggestion } from './name.js'
import type { Report } from './report.js'
import {
  attachmentSchema,
  dependencySchema,
  deploySchema,
  envFileSchema,
  extendsSchema,
  healthcheckSchema,
  ipamSchema,
  networkSchema,
  portSchema,
  projectSchema,
  restartPolicySchema,
  serviceSchema,
  subnetSchema,
  updateSchema,
} from './schema.js'
import { mapEntries, type Path, type Tree } from './tree.js'

/** What may stand in one mapping; `inside` tells of the values of some keys. */
interface Vocabulary {
  readonly known: ReadonlySet<string>
  readonly ignored: ReadonlySet<string>
  readonly inside: Readonly<Record<string, Vocabulary | Each>>
}

/** A mapping or list of any keys, each value of which has the vocabulary. */
interface Each {
  readonly each: Vocabulary
}

function vocabulary(
  schema: z.ZodObject,
  ignored = '',
  inside: Vocabulary['inside'] = {},
): Vocabulary {
  return {
    known: new Set(Object.keys(schema.shape)),
    ignored: new Set(ignored.split(/\s+/).filter(word => word !== '')),
    inside,
  }
}

const SERVICE = vocabulary(
  serviceSchema,
  `annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent configs cpu_count
  cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset
  credential_spec develop device_cgroup_rules devices gpus group_add image init ipc isolation
  label_file logging mem_limit mem_reservation mem_swappiness memswap_limit models
  oom_kill_disable oom_score_adj pid pids_limit platform post_start pre_start pre_stop privileged
  provider pull_policy pull_refresh_after read_only runtime secrets security_opt shm_size
  stdin_open storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volumes
  volumes_from`,
  {
    depends_on: { each: vocabulary(dependencySchema) },
    deploy: vocabulary(deploySchema, 'labels placement resources rollback_config', {
      restart_policy: vocabulary(restartPolicySchema, 'delay window'),
      update_config: vocabulary(updateSchema, 'failure_action max_failure_ratio monitor'),
    }),
    env_file: { each: vocabulary(envFileSchema) },
    extends: vocabulary(extendsSchema),
    healthcheck: vocabulary(healthcheckSchema),
    networks: { each: vocabulary(attachmentSchema, 'driver_opts link_local_ips') },
    ports: { each: vocabulary(portSchema, 'app_protocol') },
  },
)

const NETWORK = vocabulary(networkSchema, '', {
  ipam: vocabulary(ipamSchema, 'options', { config: { each: vocabulary(subnetSchema) } }),
})

const PROJECT = vocabulary(projectSchema, 'configs models secrets version volumes', {
  services: { each: SERVICE },
  networks: { each: NETWORK },
})

/** Keys without a meaning here, each with those who use it. */
export type IgnoredKeys = Map<string, Set<string>>

/**
 * The tree without what does not concern us: extensions (`x-…`), ignored keys (noted in `ignored`),
 * empty values of known keys, and unknown keys (reported).
 */
export function pruneProject(tree: Tree, report: Report, ignored: IgnoredKeys): Tree {
  return prune(tree, PROJECT, [], report, ignored)
}

/** One sentence for each ignored key. */
export function ignoredKeyWarnings(ignored: IgnoredKeys): readonly string[] {
  return [...ignored].map(([key, owners]) => {
    const of = [...owners].filter(owner => owner !== '')
    const who = of.length === 0 ? '' : ` of ${of.join(', ')}`
    return `"${key}"${who} has no meaning here: Portolan runs host programs`
  })
}

function prune(
  tree: Tree,
  words: Vocabulary | Each,
  path: Path,
  report: Report,
  ignored: IgnoredKeys,
): Tree {
  if ('each' in words) {
    const inner = (value: Tree, key: string | number) =>
      value.kind === 'map' ? prune(value, words.each, [...path, key], report, ignored) : value
    if (tree.kind === 'list') return { ...tree, items: tree.items.map(inner) }
    return mapEntries(tree, inner)
  }
  return mapEntries(tree, (value, key, entry) => {
    if (key.startsWith('x-')) return undefined
    if (words.ignored.has(key)) {
      noteIgnored(ignored, [...path, key])
      return undefined
    }
    if (!words.known.has(key)) {
      report.problem(entry.position, [...path, key], unknownKey(key, path, words))
      return undefined
    }
    // A null command takes back that of an earlier file; elsewhere null says nothing.
    const isCommand = key === 'command' || key === 'entrypoint'
    if (value.kind === 'scalar' && value.value === null && !isCommand) {
      return value.mark === undefined ? undefined : { ...value, mark: 'reset' }
    }
    const inside = words.inside[key]
    return inside === undefined ? value : prune(value, inside, [...path, key], report, ignored)
  })
}

function unknownKey(key: string, path: Path, words: Vocabulary): string {
  if (path.length === 0 && key === 'include') {
    return 'is not supported; name the files on the command line, each with -f'
  }
  return `is not a known key${suggestion(key, [...words.known, ...words.ignored])}`
}

function noteIgnored(ignored: IgnoredKeys, path: Path): void {
  const [section, owner, ...rest] = path
  const isOwned = rest.length > 0
  // The name of a network that a service is on is the user's, not a key.
  const words = isOwned ? rest.filter((_part, i) => !(i === 1 && rest[0] === 'networks')) : path
  const key = words.filter(part => typeof part === 'string').join('.')
  const who = !isOwned ? '' : section === 'networks' ? `network ${owner}` : String(owner)
  const owners = ignored.get(key) ?? new Set()
  ignored.set(key, owners.add(who))
}
