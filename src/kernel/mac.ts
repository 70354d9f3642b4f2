/** Link layer addresses as text, `02:42:0a:00:01:05`, and as bytes. Pure. */

export function macBytes(mac: string): Uint8Array {
  return Uint8Array.from(mac.split(':'), byte => parseInt(byte, 16))
}

export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join(':')
}
