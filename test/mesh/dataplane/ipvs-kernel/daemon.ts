/** `node daemon.js NS_PATH SERVICES`: programs the services, says so, and waits to be killed. */

import { IpvsDataplane } from '../../../../mesh/dataplane/ipvs/ipvs.js'
import type { VirtualService } from '../../../../mesh/state.js'
import { PLACE } from '../../../lab/mesh-host.js'
import { TABLE } from './kit.js'

const longestLifeMs = 120_000
const [, , nsPath = '', services = '[]'] = process.argv
const dataplane = IpvsDataplane.open({ place: PLACE, table: TABLE, nsPath })
await dataplane.reconcile(new Map(JSON.parse(services) as [string, VirtualService][]))
process.stdout.write('ready\n')
setTimeout(() => undefined, longestLifeMs)
