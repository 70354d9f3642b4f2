/** Which project a command means when it is not told. */

import type { ProjectView } from '../api/contract.js'
import { ClientError, type Client } from './client.js'
import { UsageError } from './context.js'
import { readUpRequest } from './up.js'

/** The project of `-p`, of `-f`, or the only one that is up. */
export async function chooseProject(
  client: Client,
  options: { readonly projectName?: string; readonly file?: readonly string[] },
): Promise<string> {
  if (options.projectName !== undefined) return options.projectName
  if (options.file !== undefined) {
    const request = readUpRequest(options)
    const { name } = await client.call<{ name: string }>('POST', '/v1/projects/name', request)
    return name
  }
  const projects = await client.call<readonly ProjectView[]>('GET', '/v1/projects')
  const [only, ...others] = projects
  if (only === undefined) {
    throw new ClientError('NO_PROJECT', 'No project is up; `portolan up -f FILE` brings one up')
  }
  if (others.length > 0) {
    const names = projects.map(project => project.name).join(', ')
    throw new UsageError(`Several projects are up (${names}); choose one with -p`)
  }
  return only.name
}
