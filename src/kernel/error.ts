/** What the kernel refused: `code` is the errno's name. */
import { CodedError } from '../base/error.js'

/** `code` is an errno (`EEXIST`, `EPERM`, ...), `NFT_SYNTAX`, or `KERNEL_UNSUPPORTED`. */
export class KernelError extends CodedError<string> {}
