/** A UDP packet that no socket would send: from source port 0. Needs root, and the namespace to be in. */

import koffi from 'koffi'
import { closeSync } from 'node:fs'
import { runInNetns, type Netns } from '../../src/kernel/netns.js'

const AF_INET = 2
const SOCK_RAW = 3
const IPPROTO_UDP = 17
const headerBytes = 8

const library = koffi.load('libc.so.6')
const functions: {
  socket(domain: number, type: number, protocol: number): number
  sendto(fd: number, data: Buffer, size: number, flags: number, to: Buffer, length: number): number
} = {
  socket: library.func('int socket(int domain, int type, int protocol)'),
  sendto: library.func(
    'int64_t sendto(int fd, void *data, size_t size, int flags, void *to, uint32_t length)',
  ),
}

/** Sends `payload` to 127.0.0.11 `port`; true where the kernel took it. */
export function sendFromPortZero(netns: Netns, port: number, payload: Buffer): boolean {
  const header = Buffer.alloc(headerBytes)
  header.writeUInt16BE(port, 2)
  header.writeUInt16BE(headerBytes + payload.length, 4)
  const packet = Buffer.concat([header, payload])
  // struct sockaddr_in (ip(7)); a raw socket has no use for its port.
  const to = Buffer.from([AF_INET, 0, 0, 0, 127, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0])
  return runInNetns(netns, () => {
    const fd = functions.socket(AF_INET, SOCK_RAW, IPPROTO_UDP)
    if (fd < 0) return false
    try {
      return functions.sendto(fd, packet, packet.length, 0, to, to.length) === packet.length
    } finally {
      closeSync(fd)
    }
  })
}
