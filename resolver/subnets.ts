/** Subnets from text, for zones: what cannot be read is reported, not thrown. */

import { IpError, type Prefix, parsePrefix } from '../src/base/ip.js'

/** The subnets that can be read; `skipped` gets one sentence for each other. */
export function parseSubnets(subnets: readonly string[], skipped: string[]): Prefix[] {
  return subnets.flatMap(text => {
    try {
      return [parsePrefix(text)]
    } catch (error) {
      if (!(error instanceof IpError)) throw error
      skipped.push(error.message)
      return []
    }
  })
}
