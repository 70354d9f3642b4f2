/** Env files: `NAME=value` lines (Compose Specification, 05, "Env_file format"). */

/** One line of an env file. */
export type Assignment =
  /** `NAME` alone: taken from the environment. */
  | { readonly kind: 'inherited'; readonly name: string; readonly line: number }
  | {
      readonly kind: 'value'
      readonly name: string
      readonly value: string
      /** Whether `$` in the value is a dollar sign. */
      readonly isLiteral: boolean
      readonly line: number
    }
  | { readonly kind: 'problem'; readonly message: string; readonly line: number }

/** `"value"` or `'value'` at the beginning of a text; it may go over several lines. */
const QUOTED = /^(?:"((?:\\[^]|[^"\\])*)"|'((?:\\'|[^'])*)')[ \t]*(?:#[^\n]*)?(?:\n|$)/

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', $: '$$' }

/** The variables of a `.env` file that stand for themselves; lines that are none are passed over. */
export function readDotEnv(text: string): Readonly<Record<string, string>> {
  const values = parseEnvFile(text, false).flatMap(one =>
    one.kind === 'value' ? [[one.name, one.value.replaceAll('$$', '$')] as const] : [],
  )
  return Object.fromEntries(values)
}

/** The assignments of `text` in order. `isRaw`: values are what stands after the equals sign. */
export function parseEnvFile(text: string, isRaw: boolean): readonly Assignment[] {
  const assignments: Assignment[] = []
  let rest = text.replace(/^\uFEFF/, '').replaceAll('\r\n', '\n')
  let line = 0
  while (rest !== '') {
    line += 1
    const end = rest.indexOf('\n')
    const current = end < 0 ? rest : rest.slice(0, end)
    const next = end < 0 ? '' : rest.slice(end + 1)
    const match = /^\s*(?:export\s+)?([^\s=#'"]+)[ \t]*(=?)[ \t]*/.exec(current)
    const name = match?.[1]
    if (match === null || name === undefined) {
      if (!/^\s*(#|$)/.test(current)) assignments.push(notAssignment(line))
      rest = next
      continue
    }
    const written = current.slice(match[0].length)
    if (match[2] === '') {
      const isAlone = written === '' || written.startsWith('#')
      assignments.push(isAlone ? { kind: 'inherited', name, line } : notAssignment(line))
    } else if (isRaw) {
      const value = current.slice(current.indexOf('=') + 1)
      assignments.push({ kind: 'value', name, value, isLiteral: true, line })
    } else {
      const quoted = QUOTED.exec(rest.slice(match[0].length))
      if (quoted !== null) {
        assignments.push({ kind: 'value', name, ...unquote(quoted), line })
        rest = rest.slice(match[0].length + quoted[0].length)
        line += quoted[0].replace(/\n$/, '').split('\n').length - 1
        continue
      }
      const value = written.replace(/(^|\s)#.*$/, '').trim()
      assignments.push({ kind: 'value', name, value, isLiteral: false, line })
    }
    rest = next
  }
  return assignments
}

function notAssignment(line: number): Assignment {
  return { kind: 'problem', message: 'is not NAME=value', line }
}

function unquote(quoted: RegExpExecArray): { value: string; isLiteral: boolean } {
  const [, double, single = ''] = quoted
  if (double === undefined) return { value: single.replaceAll("\\'", "'"), isLiteral: true }
  const value = double.replace(/\\([^])/g, (_all, char: string) => ESCAPES[char] ?? char)
  return { value, isLiteral: false }
}
