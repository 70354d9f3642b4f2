/**
 * Reads and rotates a container's log: one file that its processes append to. Memory is bounded by
 * one block however large the file or slow the reader.
 */

import { createReadStream, createWriteStream, watch } from 'node:fs'
import { open, rename, rm, stat, truncate } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { systemClock } from '../base/clock.js'
import type { Clock } from '../base/clock.js'
import { errorCode } from '../base/error.js'

export interface LogOptions {
  /** How many lines from the end to begin with; absent: all of them. */
  readonly lastLines?: number
  /** Go on with what is appended until `signal` is aborted. */
  readonly follow?: boolean
  readonly signal?: AbortSignal
  readonly clock?: Clock
}

export interface RotateOptions {
  /** A file of this size or more is rotated. */
  readonly maximumBytes: number
  /** How many old files stay: `PATH.1` is the youngest. 0 throws the text away. */
  readonly keptFiles: number
}

const BLOCK_BYTES = 64 * 1024
/** Where inotify has no watch left, and for a file that is made anew. */
const LOOK_AGAIN_MS = 1_000
const LINE_END = 0x0a

/**
 * The bytes of the log in blocks of whole or partial lines. A log that is not there yet is an empty
 * one; one that was truncated by rotation is read on from its beginning.
 */
export async function* readLog(path: string, options: LogOptions = {}): AsyncGenerator<Buffer> {
  const { lastLines, follow = false, signal, clock = systemClock } = options
  let offset = await startOffset(path, lastLines)
  while (!signal?.aborted) {
    const change = follow ? watchChange(path, clock, signal) : undefined
    try {
      for await (const block of readFrom(path, offset)) {
        offset = block.end
        yield block.bytes
        if (signal?.aborted) return
      }
      if (change === undefined) return
      await change.happened
      const size = await sizeOf(path)
      if (size < offset) offset = 0
    } finally {
      change?.stop()
    }
  }
}

/** The last lines of the log as text, without the line end of the last one. */
export async function readLastLines(path: string, lines: number): Promise<string[]> {
  const chunks: Buffer[] = []
  for await (const block of readLog(path, { lastLines: lines })) chunks.push(block)
  const text = Buffer.concat(chunks).toString('utf8')
  return text === '' ? [] : text.replace(/\n$/, '').split('\n')
}

/**
 * Copies a log that has grown too large aside and empties it in place: its writers hold it open.
 * What they write between the copy and the cut, some microseconds, is lost, as with logrotate's
 * `copytruncate`. Returns whether it rotated.
 */
export async function rotateLog(path: string, options: RotateOptions): Promise<boolean> {
  if ((await sizeOf(path)) < Math.max(1, options.maximumBytes)) return false
  const { keptFiles } = options
  if (keptFiles > 0) {
    await rm(`${path}.${keptFiles}`, { force: true })
    for (let age = keptFiles - 1; age >= 1; age--) await renameOptional(path, age)
    await copyEnd(path, `${path}.1`, options.maximumBytes)
  }
  await truncate(path, 0)
  return true
}

/** The last bytes of a file, at most so many: what a fast writer made beyond is not worth a disk. */
async function copyEnd(from: string, to: string, maximumBytes: number): Promise<void> {
  const start = Math.max(0, (await sizeOf(from)) - maximumBytes)
  const end = start + maximumBytes - 1
  await pipeline(createReadStream(from, { start, end }), createWriteStream(to, { mode: 0o640 }))
}

/** Where the last `lines` lines begin; reads backwards, block by block. */
async function startOffset(path: string, lines: number | undefined): Promise<number> {
  if (lines === undefined) return 0
  const file = await openOptional(path)
  if (file === undefined) return 0
  try {
    const { size } = await file.stat()
    if (lines <= 0) return size
    const block = Buffer.allocUnsafe(BLOCK_BYTES)
    let left = lines
    let end = size
    while (end > 0) {
      const start = Math.max(0, end - BLOCK_BYTES)
      const { bytesRead } = await file.read(block, 0, end - start, start)
      for (let index = bytesRead - 1; index >= 0; index--) {
        // The line end of the last line ends it and begins no other.
        if (block[index] !== LINE_END || start + index === size - 1) continue
        left--
        if (left === 0) return start + index + 1
      }
      end = start
    }
    return 0
  } finally {
    await file.close()
  }
}

async function* readFrom(
  path: string,
  offset: number,
): AsyncGenerator<{ readonly bytes: Buffer; readonly end: number }> {
  const file = await openOptional(path)
  if (file === undefined) return
  try {
    let end = offset
    for (;;) {
      // A block of its own each time: the reader may keep it.
      const block = Buffer.allocUnsafe(BLOCK_BYTES)
      const { bytesRead } = await file.read(block, 0, BLOCK_BYTES, end)
      if (bytesRead === 0) return
      end += bytesRead
      yield { bytes: block.subarray(0, bytesRead), end }
    }
  } finally {
    await file.close()
  }
}

/** Resolves at the next change; begun before reading, so that none is missed. */
function watchChange(
  path: string,
  clock: Clock,
  signal: AbortSignal | undefined,
): { readonly happened: Promise<void>; stop(): void } {
  let stop = (): void => undefined
  const happened = new Promise<void>(resolve => {
    const done = (): void => resolve()
    const timer = clock.after(LOOK_AGAIN_MS, done)
    const watcher = watchOptional(path, done)
    signal?.addEventListener('abort', done, { once: true })
    stop = () => {
      timer.cancel()
      watcher?.close()
      signal?.removeEventListener('abort', done)
    }
  })
  return { happened, stop: () => stop() }
}

function watchOptional(path: string, onChange: () => void): { close(): void } | undefined {
  try {
    const watcher = watch(path, onChange)
    watcher.on('error', onChange)
    return watcher
  } catch {
    return undefined
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return 0
    throw error
  }
}

async function openOptional(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

async function renameOptional(path: string, age: number): Promise<void> {
  try {
    await rename(`${path}.${age}`, `${path}.${age + 1}`)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
  }
}
