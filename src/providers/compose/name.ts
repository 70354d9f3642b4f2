/** Names: of projects, services, networks, hosts and aliases. */

/** A DNS label holds 63 bytes, a name 253 characters (RFC 1035 §2.3.4). */
const MAX_LABEL = 63
const MAX_NAME = 253

/** The kernel keeps 64 bytes of host name (`__NEW_UTS_LEN`). */
export const MAX_HOSTNAME = 64

/** The names of Docker's own networks, which no project may make. */
export const BUILTIN_NETWORKS: readonly string[] = ['bridge', 'host', 'none']

/** Why `name` cannot be a name in DNS, as the end of a sentence; undefined where it can. */
export function nameProblem(name: string): string | undefined {
  if (!/^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$/.test(name)) {
    return (
      `"${shorten(name)}" is not a name; use letters, digits, "-", "_" and ".", ` +
      'and begin with a letter, a digit or "_"'
    )
  }
  if (name.length > MAX_NAME) {
    return `"${shorten(name)}" has ${name.length} characters; a name has at most ${MAX_NAME}`
  }
  for (const label of name.split('.')) {
    if (label === '') return `"${shorten(name)}" is not a name: it has nothing between two dots`
    if (label.length > MAX_LABEL) {
      return `"${shorten(label)}" has ${label.length} characters; a label of a name has at most ${MAX_LABEL}`
    }
  }
  return undefined
}

/** As nameProblem(), for containers and networks: Docker wants a letter or digit, and one more. */
export function entityNameProblem(name: string): string | undefined {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name)) return nameProblem(name)
  return (
    `"${shorten(name)}" is not a name; use two or more letters, digits, "-", "_" and ".", ` +
    'and begin with a letter or a digit'
  )
}

/** As nameProblem(), for names that may begin with `*.` (RFC 4592) and end in the root's dot. */
export function aliasProblem(alias: string): string | undefined {
  return nameProblem(alias.replace(/^\*\./, '').replace(/(?<=[^.])\.$/, ''))
}

/** Why `name` cannot name a project; undefined where it can. */
export function projectNameProblem(name: string): string | undefined {
  if (!/^[a-z0-9][a-z0-9_-]*$/.test(name)) {
    return (
      `"${shorten(name)}" is not a project name; use lower case letters, digits, "-" and "_", ` +
      'and begin with a letter or digit'
    )
  }
  return name.length > MAX_LABEL ? nameProblem(name) : undefined
}

/** A project name made of a directory's: folded to lower case, other characters dropped. */
export function normaliseProjectName(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^-_a-z0-9]/g, '')
    .replace(/^[-_]+/, '')
}

/** The known word that `word` was likely meant to be, or undefined. */
export function nearestWord(word: string, known: Iterable<string>): string | undefined {
  let nearest: string | undefined
  let best = word.length < 4 ? 2 : Math.max(2, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    if (Math.abs(candidate.length - word.length) >= best) continue
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < best && distance < candidate.length) {
      best = distance
      nearest = candidate
    }
  }
  return nearest
}

/** `; did you mean "command"?`, or nothing. */
export function suggestion(word: string, known: Iterable<string>): string {
  const nearest = nearestWord(word, known)
  return nearest === undefined ? '' : `; did you mean "${nearest}"?`
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** A value as a message shows it. */
export function shorten(text: string): string {
  return text.length > 70 ? `${text.slice(0, 67)}...` : text
}
