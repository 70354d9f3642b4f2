/**
 * The shape of a project after its short forms are written out (canonical.ts): which keys there are
 * and of what type. What the values mean is checked where they are used.
 */

import { z } from 'zod'
import { MAX_DURATION_MS, parseDuration } from './duration.js'
import { shorten } from './name.js'

/** More replicas than one host's process table and one network's subnet can hold are a mistake. */
const MAX_REPLICAS = 10_000

/** Text; YAML's numbers and booleans are taken as they were written. */
const text = z
  .union([z.string(), z.number(), z.boolean()], {
    error: issue => (issue.input === undefined ? 'is missing' : 'must be a string'),
  })
  .transform(String)

const texts = z.array(text, { error: 'must be a list of strings' })

/** A command: null and the empty forms take back what an earlier file says. */
const command = z.union([text, texts, z.null()], {
  error: 'must be a string or a list of strings',
})

/** What Compose takes for a boolean, where YAML 1.2 reads text or a variable was put in. */
const TRUE = new Set(['true', 'yes', 'on', 'y', 't', '1'])
const FALSE = new Set(['false', 'no', 'off', 'n', 'f', '0'])

const flag = z
  .union([z.boolean(), z.string(), z.number()], { error: 'must be true or false' })
  .transform((value, context) => {
    const word = String(value).toLowerCase()
    if (TRUE.has(word)) return true
    if (FALSE.has(word)) return false
    context.addIssue(`must be true or false, not "${shorten(String(value))}"`)
    return z.NEVER
  })

function whole(min: number, max: number) {
  const bounds =
    max === Number.MAX_SAFE_INTEGER ? `a whole number` : `a whole number from ${min} to ${max}`
  return z
    .union([z.number(), z.string()], { error: `must be ${bounds}` })
    .transform((value, context) => {
      const number = typeof value === 'number' || /^[-+]?\d+$/.test(value) ? Number(value) : NaN
      if (Number.isInteger(number) && number >= min && number <= max) return number
      context.addIssue(`must be ${bounds}, not "${shorten(String(value))}"`)
      return z.NEVER
    })
}

/** Milliseconds. */
const duration = text.transform((value, context) => {
  const milliseconds = parseDuration(value)
  if (milliseconds === undefined) {
    context.addIssue(`"${shorten(value)}" is not a duration; write it as 500ms, 10s or 1m30s`)
    return z.NEVER
  }
  if (milliseconds > MAX_DURATION_MS) {
    context.addIssue(`"${shorten(value)}" is longer than 24 days`)
    return z.NEVER
  }
  return milliseconds
})

function choice<const T extends readonly [string, ...string[]]>(...words: T) {
  const known = `${words.slice(0, -1).join(', ')} or ${words.at(-1) ?? ''}`
  return z.enum(words, {
    error: issue =>
      typeof issue.input === 'string'
        ? `"${shorten(issue.input)}" is not known; write ${known}`
        : `must be ${known}`,
  })
}

function object<T extends z.ZodRawShape>(shape: T) {
  return z.object(shape, { error: 'must be a mapping' })
}

function map<T extends z.ZodType>(values: T, error = 'must be a mapping') {
  return z.record(z.string(), values, { error })
}

/** `KEY: value`; null where only the key is given. */
const variables = map(
  z.union([text, z.null()], { error: 'must be a string' }),
  'must be a mapping or a list of KEY=VALUE',
)

const signedWhole = whole(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)

export const attachmentSchema = object({
  aliases: texts.optional(),
  ipv4_address: text.optional(),
  ipv6_address: text.optional(),
  mac_address: text.optional(),
  interface_name: text.optional(),
  gw_priority: signedWhole.optional(),
  priority: signedWhole.optional(),
})

export const portSchema = object({
  name: text.optional(),
  target: text,
  published: text.optional(),
  host_ip: text.optional(),
  protocol: text.optional(),
  mode: choice('ingress', 'host').optional(),
})

export const healthcheckSchema = object({
  test: z.union([text, texts], { error: 'must be a string or a list of strings' }).optional(),
  disable: flag.optional(),
  interval: duration.optional(),
  timeout: duration.optional(),
  retries: whole(0, 1_000_000).optional(),
  start_period: duration.optional(),
  start_interval: duration.optional(),
})

export const dependencySchema = object({
  condition: choice(
    'service_started',
    'service_healthy',
    'service_completed_successfully',
  ).optional(),
  required: flag.optional(),
  restart: flag.optional(),
})

export const restartPolicySchema = object({
  condition: choice('none', 'on-failure', 'any').optional(),
  max_attempts: whole(0, 1_000_000).optional(),
})

export const updateSchema = object({
  parallelism: whole(0, MAX_REPLICAS).optional(),
  delay: duration.optional(),
  order: choice('stop-first', 'start-first').optional(),
})

export const deploySchema = object({
  mode: choice('replicated', 'global').optional(),
  replicas: whole(0, MAX_REPLICAS).optional(),
  endpoint_mode: choice('vip', 'dnsrr').optional(),
  restart_policy: restartPolicySchema.optional(),
  update_config: updateSchema.optional(),
})

export const envFileSchema = object({
  path: text,
  required: flag.optional(),
  format: choice('raw', 'compose').optional(),
})

/** Read before anything else (extends.ts) and gone by the time a service is checked. */
export const extendsSchema = object({ service: text, file: text.optional() })

export const serviceSchema = object({
  command: command.optional(),
  container_name: text.optional(),
  depends_on: map(dependencySchema, 'must be a list or a mapping of services').optional(),
  deploy: deploySchema.optional(),
  dns: texts.optional(),
  dns_opt: texts.optional(),
  dns_search: texts.optional(),
  domainname: text.optional(),
  entrypoint: command.optional(),
  env_file: z.array(envFileSchema, { error: 'must be a path or a list of paths' }).optional(),
  environment: variables.optional(),
  expose: texts.optional(),
  extends: extendsSchema.optional(),
  external_links: texts.optional(),
  extra_hosts: texts.optional(),
  healthcheck: healthcheckSchema.optional(),
  hostname: text.optional(),
  labels: variables.optional(),
  links: texts.optional(),
  mac_address: text.optional(),
  network_mode: text.optional(),
  networks: map(attachmentSchema, 'must be a list or a mapping of networks').optional(),
  ports: z
    .array(z.union([text, portSchema], { error: 'must be a port such as "8080:80"' }), {
      error: 'must be a list of ports',
    })
    .optional(),
  profiles: texts.optional(),
  restart: text.optional(),
  scale: whole(0, MAX_REPLICAS).optional(),
  stop_grace_period: duration.optional(),
  stop_signal: text.optional(),
  working_dir: text.optional(),
})

export const subnetSchema = object({
  subnet: text.optional(),
  gateway: text.optional(),
  ip_range: text.optional(),
  aux_addresses: map(text).optional(),
})

export const ipamSchema = object({
  driver: text.optional(),
  config: z.array(subnetSchema, { error: 'must be a list of mappings' }).optional(),
})

export const networkSchema = object({
  name: text.optional(),
  driver: text.optional(),
  driver_opts: map(text).optional(),
  ipam: ipamSchema.optional(),
  internal: flag.optional(),
  attachable: flag.optional(),
  enable_ipv4: flag.optional(),
  enable_ipv6: flag.optional(),
  external: flag.optional(),
  labels: variables.optional(),
})

export const projectSchema = object({
  name: text.optional(),
  services: map(serviceSchema).optional(),
  networks: map(networkSchema).optional(),
})

/** A service as the file says it, short forms written out. */
export type DeclaredService = z.infer<typeof serviceSchema>
export type DeclaredPort = z.infer<typeof portSchema>
export type DeclaredAttachment = z.infer<typeof attachmentSchema>
export type DeclaredNetwork = z.infer<typeof networkSchema>
export type DeclaredSubnet = z.infer<typeof subnetSchema>
export type DeclaredProject = z.infer<typeof projectSchema>
