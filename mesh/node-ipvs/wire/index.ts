/**
 * The bytes and the socket below the client, for tools and tests: `import ... from 'node-ipvs/wire'`.
 * Unlike the client, these names may change with a minor version.
 */

export { attribute, nested, parseAttributes, text, u16, u16Network, u32, u8 } from './attribute.js'
export type { Attributes } from './attribute.js'
export { composeAddress, parseAddress } from './address.js'
export type { Address } from './address.js'
export {
  composeFamilyQuestion,
  composeRequest,
  NLM_F,
  NLMSG,
  parseFamilyId,
  parseGeneric,
  parseVerdict,
  splitMessages,
} from './message.js'
export type { Message, Request, Verdict } from './message.js'
export { composeService, composeServiceId, parseService, SERVICE } from './service.js'
export {
  composeDestination,
  composeDestinationId,
  DESTINATION,
  parseDestination,
} from './destination.js'
export { composeDaemon, composeSyncState, DAEMON, parseDaemon } from './daemon.js'
export { composeTimeouts, parseInfo, parseTimeouts } from './settings.js'
export { canonicalDaemon } from '../canonical.js'
export { COMMAND, FAMILY_NAME } from '../command.js'
export { GenericSocket } from '../socket.js'
export type { Answer, SocketOptions } from '../socket.js'
