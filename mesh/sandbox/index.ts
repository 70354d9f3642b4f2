/** What the mesh needs inside a sandbox: the way in from published ports, and virtual addresses. */

export { SandboxTables } from './tables.js'
export type { SandboxWish } from './tables.js'
export type { IngressTarget, OwnSubnet, SandboxIngress } from './ingress.js'
export type { SandboxVip, VipDestination } from './vip.js'
