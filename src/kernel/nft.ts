/**
 * nftables in process, through libnftables: no fork, and a batch of commands is one transaction.
 *
 * A context talks to the namespace it was made in, so each call makes its own: 0.1 ms.
 */
import { closeSync, openSync } from 'node:fs'
import { load as loadLibrary, type LibraryHandle } from 'koffi'
import { KernelError } from './error.js'
import { libc } from './libc.js'

/** libnftables.h: NFT_CTX_OUTPUT_JSON. */
const OUTPUT_JSON = 1 << 4
/**
 * libnftables waits with select(2), and glibc ends the whole process where that is given a descriptor
 * from FD_SETSIZE on. Some low ones are kept for it, as a few hundred sandboxes use up the rest.
 */
const FD_SETSIZE = 1024
/** Its socket and files that it reads, and some more for threads that open a file meanwhile. */
const KEPT_DESCRIPTORS = 12
/** glibc: bits/sigaction.h, bits/types/__sigset_t.h. */
const SIG_BLOCK = 0
const SIG_SETMASK = 2
const SIGSET_BYTES = 128

interface LibNftables {
  create(flags: number): unknown
  free(context: unknown): void
  bufferOutput(context: unknown): number
  bufferError(context: unknown): number
  output(context: unknown): string | null
  error(context: unknown): string | null
  setFlags(context: unknown, flags: number): void
  run(context: unknown, commands: string): number
}

export interface NftTable {
  readonly family: string
  readonly name: string
}

let loaded: LibNftables | undefined
const kept: number[] = []

/** Runs commands in nft's language as one transaction. Throws KernelError with nft's own sentence. */
export function runNft(commands: string): void {
  run(commands, 0)
}

/** The JSON of a listing (libnftables-json(5)): the array below `nftables`. */
export function queryNft(command: string): readonly unknown[] {
  const parsed: unknown = JSON.parse(run(command, OUTPUT_JSON) || '{"nftables":[]}')
  const listing = property(parsed, 'nftables')
  return Array.isArray(listing) ? listing : []
}

/** The tables of the namespace of the calling moment. */
export function listTables(): readonly NftTable[] {
  return queryNft('list tables').flatMap(entry => {
    const table = property(entry, 'table')
    const family = property(table, 'family')
    const name = property(table, 'name')
    return typeof family === 'string' && typeof name === 'string' ? [{ family, name }] : []
  })
}

function run(commands: string, flags: number): string {
  const nft = library()
  if (kept.length === 0) keepDescriptors()
  for (const fd of kept.splice(0)) closeSync(fd)
  try {
    requireLowDescriptor()
    return withoutSignals(() => runContext(nft, commands, flags))
  } finally {
    keepDescriptors()
  }
}

/** Holds low descriptors from the first call on, when there are some. */
function keepDescriptors(): void {
  while (kept.length < KEPT_DESCRIPTORS) {
    const fd = openSync('/dev/null', 'r')
    if (fd >= FD_SETSIZE) return closeSync(fd)
    kept.push(fd)
  }
}

/**
 * libnftables takes a signal in the middle of a transaction (a child's end, a profiler's tick) for a
 * failure of it. They wait, or another thread takes them.
 */
function withoutSignals<T>(body: () => T): T {
  const every = Buffer.alloc(SIGSET_BYTES, 0xff)
  const before = Buffer.alloc(SIGSET_BYTES)
  libc.pthread_sigmask(SIG_BLOCK, every, before)
  try {
    return body()
  } finally {
    libc.pthread_sigmask(SIG_SETMASK, before, every)
  }
}

function requireLowDescriptor(): void {
  const lowest = openSync('/dev/null', 'r')
  closeSync(lowest)
  if (lowest < FD_SETSIZE - KEPT_DESCRIPTORS) return
  throw new KernelError(
    'EMFILE',
    `Cannot talk to nftables: this process has ${lowest} files open and none below ${FD_SETSIZE} is free`,
  )
}

function runContext(nft: LibNftables, commands: string, flags: number): string {
  const context = nft.create(0)
  if (context === null) throw new KernelError('ENOMEM', 'Cannot talk to nftables: out of memory')
  try {
    nft.bufferOutput(context)
    nft.bufferError(context)
    nft.setFlags(context, flags)
    if (nft.run(context, commands) === 0) return nft.output(context) ?? ''
    throw refusal(nft.error(context) ?? '')
  } finally {
    nft.free(context)
  }
}

/** nft prints its sentence first, then the line and a marker below the place. */
function refusal(text: string): KernelError {
  const [first = '', line = ''] = text.trim().split('\n')
  const sentence = first.replace(/^.*?Error: /, '')
  const isKernel = /Operation not permitted|No such file|File exists|busy|not supported/i.test(
    first,
  )
  const code = /not permitted/i.test(first) ? 'EPERM' : isKernel ? 'NFT_REFUSED' : 'NFT_SYNTAX'
  return new KernelError(code, `nftables refused "${line.trim()}": ${sentence}`)
}

function library(): LibNftables {
  loaded ??= load()
  return loaded
}

function load(): LibNftables {
  let nft: LibraryHandle
  try {
    nft = loadLibrary('libnftables.so.1')
  } catch (cause) {
    throw new KernelError(
      'KERNEL_UNSUPPORTED',
      'Cannot use nftables: libnftables.so.1 is not there; install the package libnftables1',
      { cause },
    )
  }
  return {
    create: nft.func('void *nft_ctx_new(uint32_t flags)'),
    free: nft.func('void nft_ctx_free(void *context)'),
    bufferOutput: nft.func('int nft_ctx_buffer_output(void *context)'),
    bufferError: nft.func('int nft_ctx_buffer_error(void *context)'),
    output: nft.func('const char *nft_ctx_get_output_buffer(void *context)'),
    error: nft.func('const char *nft_ctx_get_error_buffer(void *context)'),
    setFlags: nft.func('void nft_ctx_output_set_flags(void *context, uint32_t flags)'),
    run: nft.func('int nft_run_cmd_from_buffer(void *context, const char *commands)'),
  }
}

function property(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  return Object.entries(value).find(([name]) => name === key)?.[1]
}
