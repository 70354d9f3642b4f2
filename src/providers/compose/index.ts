/** Compose files: what they declare, as a project of the catalog. */

export { parseProject, type ParsedProject, type ParseOptions } from './project.js'
export { ComposeError, type ComposeErrorCode } from './error.js'
export type { ComposeFile } from './document.js'
export { readDotEnv } from './env-file.js'
