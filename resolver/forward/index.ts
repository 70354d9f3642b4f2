/** The forwarder: answers from upstream resolvers, for what no zone owns. */

export { Forwarder } from './forwarder.js'
export {
  DEFAULT_BUDGET_MS,
  DEFAULT_CACHE_BYTES,
  DEFAULT_CACHE_ENTRIES,
  DEFAULT_MAX_WAITING,
  DEFAULT_MAX_WAITING_A_POLICY,
} from './forwarder.js'
export type { ForwardCounters, ForwarderOptions } from './forwarder.js'
export { DNS_PORT, MAX_ASKED, hostSpace } from './policy.js'
export type { ForwardPolicy, SocketSpace, UpstreamAddress } from './policy.js'
export type { RandomSource } from './random.js'
export type { UpstreamStatus } from './upstream.js'
export {
  HOST_RESOLV_CONF,
  SYSTEMD_RESOLV_CONF,
  isSystemdStub,
  parseResolvConf,
  readResolvConf,
  watchResolvConf,
} from './resolv-conf.js'
export type { ResolvConf, ResolvConfFile, ResolvConfWatch } from './resolv-conf.js'
export { parseNdots } from './ndots.js'
