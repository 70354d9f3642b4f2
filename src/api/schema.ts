/** Shapes that a request must have; what does not fit is refused before the daemon sees it. */

import { z } from 'zod'

const text = z.string()
const textMap = z.record(text, text)
const count = z.coerce.number().int().min(0)
const flag = z
  .enum(['true', 'false', '1', '0'])
  .default('false')
  .transform(value => value === 'true' || value === '1')

export const upBody = z.object({
  files: z.array(z.object({ path: text, text })).min(1),
  environment: textMap,
  directory: text,
  projectName: text.exactOptional(),
  removeOrphans: z.boolean(),
  isWaiting: z.boolean(),
  timeoutSeconds: z.number().positive(),
})
export const downQuery = z.object({ timeout: count.optional() })
export const stopQuery = z.object({ timeout: count.optional() })
export const scaleBody = z.object({
  replicas: z.record(
    text,
    z.number().int().min(0).max(10_000, 'a service has at most 10000 replicas'),
  ),
})
export const drainBody = z.object({
  timeoutSeconds: z.number().min(0).max(86_400, 'a drain takes a day at most').exactOptional(),
  isUndone: z.boolean(),
})
export const updateServiceBody = z.object({
  scheduler: z.enum(['rr', 'wrr', 'lc', 'wlc', 'sh', 'mh']).exactOptional(),
  affinity: z.enum(['none', 'client-ip']).exactOptional(),
  affinityTimeoutSeconds: z.number().int().min(1).exactOptional(),
  weights: z.record(text, z.number().int().min(1).max(65_535)).exactOptional(),
  drainSeconds: z.number().min(0).max(86_400, 'a drain takes a day at most').exactOptional(),
})
export const traceQuery = z.object({
  port: z.coerce.number().int().min(1).max(65_535),
  protocol: z.enum(['tcp', 'udp', 'sctp']).optional(),
})
export const renameBody = z.object({ name: text })
export const logsQuery = z.object({ tail: count.optional(), follow: flag })
export const createNetworkBody = z.object({
  name: text,
  driver: text.exactOptional(),
  subnets: z.array(text).exactOptional(),
  gateways: z.array(text).exactOptional(),
  ipRanges: z.array(text).exactOptional(),
  auxAddresses: textMap.exactOptional(),
  hasIpv6: z.boolean().exactOptional(),
  isInternal: z.boolean().exactOptional(),
  options: textMap.exactOptional(),
  labels: textMap.exactOptional(),
})
export const connectBody = z.object({
  container: text,
  aliases: z.array(text).exactOptional(),
  ipv4: text.exactOptional(),
  ipv6: text.exactOptional(),
  gatewayPriority: z.number().int().exactOptional(),
})
export const disconnectBody = z.object({ container: text })
export const digQuery = z.object({ from: text, name: text, type: text.default('A'), tcp: flag })
export const explainQuery = z.object({ from: text, name: text, type: text.default('A') })
