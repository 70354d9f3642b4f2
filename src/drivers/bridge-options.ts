/** Options of the bridge driver, by Docker's names and short ones. Pure. */

import type { NetworkSpec } from '../catalog/network.js'
import { DriverError } from './error.js'

export interface BridgeOptions {
  readonly mtu: number
  /** False: containers of the network reach the world and not each other (`icc`). */
  readonly isOpen: boolean
  /** Whether traffic to the outside gets the host's address. */
  readonly isMasqueraded: boolean
  /** The link's name, where the user chose it. */
  readonly linkName?: string
}

const defaultMtu = 1500
/** The least that IPv6 runs over (RFC 8200 §5), and the most an Ethernet link takes (if_ether.h). */
const mtuRange = { v4: 68, v6: 1280, most: 65_535 } as const

const longNames: Readonly<Record<string, string>> = {
  'com.docker.network.driver.mtu': 'mtu',
  'com.docker.network.bridge.enable_icc': 'icc',
  'com.docker.network.bridge.enable_ip_masquerade': 'masquerade',
  'com.docker.network.bridge.name': 'name',
}
const known = ['mtu', 'icc', 'masquerade', 'name']

/** Throws DriverError `DRIVER_UNKNOWN_OPTION`, `DRIVER_BAD_OPTION`. */
export function parseBridgeOptions(network: NetworkSpec): BridgeOptions {
  const options = new Map<string, string>()
  for (const [given, value] of Object.entries(network.options)) {
    const name = longNames[given] ?? given
    if (!known.includes(name)) {
      throw new DriverError(
        'DRIVER_UNKNOWN_OPTION',
        `Network "${network.name}": the bridge driver has no option "${given}"; it has ${known.join(', ')}`,
      )
    }
    options.set(name, value)
  }
  const linkName = options.get('name')
  if (linkName !== undefined) checkLinkName(network.name, linkName)
  return {
    mtu: parseMtu(network, options.get('mtu')),
    isOpen: parseFlag(network.name, 'icc', options.get('icc') ?? 'true'),
    isMasqueraded: parseFlag(network.name, 'masquerade', options.get('masquerade') ?? 'true'),
    ...(linkName !== undefined && { linkName }),
  }
}

function parseMtu(network: NetworkSpec, text: string | undefined): number {
  if (text === undefined) return defaultMtu
  const least = network.hasIpv6 ? mtuRange.v6 : mtuRange.v4
  const mtu = Number(text)
  if (/^\d+$/.test(text) && mtu >= least && mtu <= mtuRange.most) return mtu
  throw new DriverError(
    'DRIVER_BAD_OPTION',
    `Network "${network.name}": mtu "${text}" is not a number from ${least} to ${mtuRange.most}`,
  )
}

function parseFlag(network: string, option: string, text: string): boolean {
  if (text === 'true' || text === '1') return true
  if (text === 'false' || text === '0') return false
  throw new DriverError(
    'DRIVER_BAD_OPTION',
    `Network "${network}": ${option} "${text}" is neither true nor false`,
  )
}

/** IFNAMSIZ is 16 with its NUL; the kernel refuses "/", ":" and white space. */
function checkLinkName(network: string, name: string): void {
  if (/^[a-zA-Z0-9_.-]{1,15}$/.test(name) && name !== '.' && name !== '..') return
  throw new DriverError(
    'DRIVER_BAD_OPTION',
    `Network "${network}": "${name}" cannot name a link: use 1 to 15 letters, digits, "_", "." or "-"`,
  )
}
