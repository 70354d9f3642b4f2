/** Which part of the tree may import which, and why no other. The table that layers.test.ts holds. */

import type { Import } from './source.js'

/** What may be imported: a part, one pure file of it, or only what is gone after compiling. */
type Allowed = string | { readonly typesOf: string }

interface Layer {
  readonly may: readonly Allowed[]
  /** Completes "because". */
  readonly why: string
}

const types = (part: string): Allowed => ({ typesOf: part })

const outer: Layer = {
  may: ['src/base', 'src/catalog', types('resolver'), types('mesh')],
  why: 'it shows the catalog and the status of the libraries, and decides nothing',
}

const library = 'another program imports it alone, without catalog, kernel or daemon'

/** By part: `src/NAME`, `resolver`, `mesh`, `mesh/node-ipvs`. A part may import itself. */
export const LAYERS: Readonly<Record<string, Layer>> = {
  'src/base': { may: [], why: 'everything stands on it' },
  'src/kernel': { may: ['src/base'], why: 'a door to the kernel knows no model' },
  'src/catalog': { may: ['src/base'], why: 'the model is pure and knows nobody who uses it' },
  'src/ipam': { may: ['src/base'], why: 'it chooses addresses from plain data' },
  resolver: { may: ['src/base'], why: `it knows zones and not Docker: ${library}` },
  'mesh/node-ipvs': { may: [], why: 'it is a package of its own' },
  mesh: {
    may: ['src/base', 'src/kernel', 'mesh/node-ipvs'],
    why: 'it knows virtual services and not Compose: another program imports it alone',
  },
  'src/plan': {
    may: [
      ...['src/base', 'src/catalog', 'src/ipam'],
      types('resolver'),
      // Docker's order of networks and the meaning of ndots are decided once, for both.
      ...['resolver/order.ts', 'resolver/forward/ndots.ts'],
      types('mesh'),
    ],
    why: 'it is pure: data in, data for resolver and mesh out, and runs neither',
  },
  'src/store': {
    may: ['src/base', 'src/catalog'],
    why: 'it keeps records, whatever becomes of them',
  },
  'src/providers': {
    may: ['src/base', 'src/catalog'],
    why: 'it says what is wished or seen, in the words of the catalog',
  },
  'src/drivers': {
    may: ['src/base', 'src/catalog', 'src/ipam', 'src/kernel'],
    why: 'it makes links of a network, and knows neither names nor processes',
  },
  'src/runtime': {
    may: ['src/base', 'src/kernel', types('src/catalog')],
    why: 'it runs a process in a sandbox that somebody else made',
  },
  'src/api': outer,
  'src/web': outer,
  'src/metrics': outer,
  'src/cli': {
    // Where the socket is and which version this is are as much the client's as the server's.
    may: ['src/base', types('src/api'), 'src/api/paths.ts', 'src/api/version.ts'],
    why: 'it speaks to the daemon over the socket, and a command must not load a daemon',
  },
  'src/daemon': {
    may: [
      ...['base', 'kernel', 'catalog', 'ipam', 'plan', 'store', 'providers', 'drivers', 'runtime'],
      ...['api', 'web', 'metrics'],
    ]
      .map((part): Allowed => `src/${part}`)
      .concat('resolver', 'mesh', 'mesh/node-ipvs'),
    why: 'it composes the rest, and the command line composes nothing',
  },
}

/** The one file of the command line that loads the daemon, when it runs. */
const DAEMON_ENTRY = 'src/cli/daemon.ts'

/** The part that a file belongs to, or undefined. */
export function partOf(path: string): string | undefined {
  if (path.startsWith('mesh/node-ipvs/')) return 'mesh/node-ipvs'
  const [top = '', second, third] = path.split('/')
  if (top !== 'src') return top
  return third === undefined ? undefined : `src/${second}`
}

/** The sentence that forbids the import, or undefined. */
export function describeBreach(path: string, edge: Import): string | undefined {
  const from = partOf(path)
  if (edge.target === undefined || from === undefined) return undefined
  const to = partOf(edge.target) ?? edge.target
  if (to === from) return undefined
  const layer = LAYERS[from]
  if (layer === undefined)
    return `${path}: no layer is named ${from}; place it in test/rules/layers.ts`
  if (layer.may.includes(to) || layer.may.includes(edge.target)) return undefined
  const hasTypes = layer.may.some(one => typeof one !== 'string' && one.typesOf === to)
  if (hasTypes && edge.kind === 'type') return undefined
  if (path === DAEMON_ENTRY && to === 'src/daemon' && edge.kind === 'dynamic') return undefined
  const what = hasTypes ? `${edge.target} for more than types` : edge.target
  return `${path} imports ${what}, and ${from} must not, because ${layer.why}`
}
