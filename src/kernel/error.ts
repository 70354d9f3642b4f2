/** What the kernel refused: `code` is the errno's name. */
import { CodedError } from '../base/error.js'

/** `code` is an errno (`EEXIST`, `EPERM`, ...), `NFT_SYNTAX`, or `KERNEL_UNSUPPORTED`. */
export class KernelError extends CodedError<string> {}

/** Runs `body`, for which a refusal with `code` is as good as done. Returns whether it did anything. */
export function ignoring(code: string, body: () => void): boolean {
  try {
    body()
    return true
  } catch (error) {
    if (error instanceof KernelError && error.code === code) return false
    throw error
  }
}
