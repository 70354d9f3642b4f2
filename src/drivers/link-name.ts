/** Names of our links: readable, unique, at most 15 characters (IFNAMSIZ). Pure. */

const longest = 15
const bridgePrefix = 'ptl-'
const vethPrefix = 'pv'
const digestLength = 4

/** Names to try for a network's bridge, the nicest first. */
export function bridgeNames(network: { readonly name: string; readonly id: string }): string[] {
  const plain = sanitise(network.name)
  const room = longest - bridgePrefix.length
  const digests = [0, 1, 2].map(i => network.id.slice(i * digestLength, (i + 1) * digestLength))
  const cut = plain.slice(0, room - digestLength - 1)
  const numbered = digests.map(digest => `${bridgePrefix}${cut}-${digest}`)
  return plain.length <= room ? [`${bridgePrefix}${plain}`, ...numbered] : numbered
}

/** Names to try for the host's end of an endpoint's veth pair: the end of the container's name. */
export function vethNames(container: string, endpointId: string): string[] {
  const tail = sanitise(container).slice(-(longest - vethPrefix.length - digestLength - 1))
  return [0, 1, 2].map(i => {
    const digest = endpointId.slice(i * digestLength, (i + 1) * digestLength)
    return `${vethPrefix}${tail}-${digest}`
  })
}

/** Dots would be taken for separators in /proc/sys. */
function sanitise(name: string): string {
  return name.replace(/[^a-zA-Z0-9_-]/g, '_')
}
