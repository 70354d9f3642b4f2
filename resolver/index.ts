/** The resolver as a library: `import { Resolver } from 'portolan/resolver'`. */

export { Resolver, SandboxError } from './resolver.js'
export type {
  OpenOptions,
  ResolverOptions,
  ResolverStatus,
  SandboxOptions,
  SandboxStatus,
} from './resolver.js'
export { LocalResolver } from './local-resolver.js'
export { OptionError } from './open-options.js'
export type { LocalNames } from './open-options.js'
export { ResolverError } from './error.js'
export { ListenError } from './listen/listener.js'
export type { QueryCounters } from './listen/listener.js'
export { PollerError, openPoller } from './listen/poller.js'
export type { Poller } from './listen/poller.js'
export type { UdpKind } from './listen/choose-udp.js'
export { compileZone, listSkipped, updateZone } from './zone.js'
export type { EndpointNames, NetworkNames, NetworkZone, ServiceNames, ZoneChange } from './zone.js'
export { compileManaged, compileView } from './view.js'
export type { ManagedNames, ManagedSpace, View, ViewNames } from './view.js'
export { sortAttachments } from './order.js'
export type { Attachment } from './order.js'
export { Responder, decide, DROP, FORWARD } from './answer.js'
export type { Disposition, Question } from './answer.js'
export { validateName } from './name.js'
export type { Explanation } from './explain.js'
export type { ForwardPolicy, SocketSpace, UpstreamAddress } from './forward/policy.js'
export type { ForwardCounters, ForwarderOptions } from './forward/forwarder.js'
export type { UpstreamStatus } from './forward/upstream.js'
export { parseMessage } from './wire/message-text.js'
export type { TextMessage, TextRecord } from './wire/message-text.js'
