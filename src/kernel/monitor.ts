/** Sockets that hear of changes to links, addresses, routes and nftables in their namespace. */
import {
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  openNetlinkMonitor,
  type NetlinkMonitor,
} from './netlink.js'

/** Linux: include/uapi/linux/rtnetlink.h, enum rtnetlink_groups. */
const RTNLGRP = { LINK: 1, IPV4_IFADDR: 5, IPV4_ROUTE: 7, IPV6_IFADDR: 9, IPV6_ROUTE: 11 }
/** Linux: include/uapi/linux/netfilter/nfnetlink.h. */
const NFNLGRP_NFTABLES = 7
/** News of some thousand links, which come at once when a large project goes up. */
const RECEIVE_BYTES = 8 << 20
/**
 * Hears of every nftables transaction in the namespace of the calling moment. `receiveBytes` of news
 * wait for a reader: every element of a set is some.
 */
export function openNftMonitor(receiveBytes?: number): NetlinkMonitor {
  return openNetlinkMonitor(NETLINK_NETFILTER, [NFNLGRP_NFTABLES], receiveBytes)
}

/** Hears of links, addresses and routes in the namespace of the calling moment. */
export function openRouteMonitor(): NetlinkMonitor {
  return openNetlinkMonitor(NETLINK_ROUTE, Object.values(RTNLGRP), RECEIVE_BYTES)
}
