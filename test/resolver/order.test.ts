import t from 'tap'
import { type Attachment, sortAttachments } from '../../resolver/order.js'

const order = (...attachments: readonly Attachment[]) =>
  sortAttachments(attachments).map(each => each.networkName)

t.test('sortAttachments() follows gateway priority before everything on the host', async t => {
  t.strictSame(
    order(
      { networkName: 'aaa', hasIpv4Gateway: true, hasIpv6Gateway: true },
      { networkName: 'int', isInternal: true, gatewayPriority: 10 },
      { networkName: 'low', gatewayPriority: -1, hasIpv4Gateway: true },
    ),
    ['int', 'aaa', 'low'],
  )
})

t.test('sortAttachments() puts the gateway bridge last, internal networks before it', async t => {
  t.strictSame(
    order(
      { networkName: 'bridge', isGatewayBridge: true, hasIpv4Gateway: true },
      { networkName: 'int', isInternal: true },
      { networkName: 'zzz', hasIpv4Gateway: true },
    ),
    ['zzz', 'int', 'bridge'],
  )
})

t.test('sortAttachments() prefers two gateways to one to none, then the name', async t => {
  t.strictSame(
    order(
      { networkName: 'a-none' },
      { networkName: 'c-one', hasIpv4Gateway: true },
      { networkName: 'b-one', hasIpv6Gateway: true },
      { networkName: 'z-dual', hasIpv4Gateway: true, hasIpv6Gateway: true },
    ),
    ['z-dual', 'b-one', 'c-one', 'a-none'],
  )
})

t.test('sortAttachments() puts overlays first and the ingress network next', async t => {
  t.strictSame(
    order(
      { networkName: 'local', gatewayPriority: 5 },
      { networkName: 'ingress', reach: 'ingress' },
      { networkName: 'ov2', reach: 'overlay' },
      { networkName: 'ov1', reach: 'overlay' },
    ),
    ['ov1', 'ov2', 'ingress', 'local'],
  )
})

t.test('sortAttachments() is stable and leaves its argument alone', async t => {
  const twins = [
    { networkName: 'same', tag: 1 },
    { networkName: 'same', tag: 2 },
  ] as const
  t.strictSame(
    sortAttachments(twins).map(each => each.tag),
    [1, 2],
  )
})
