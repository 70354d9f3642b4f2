/** Splits a command line into words as a POSIX shell does, without running or expanding anything. */

/** The words, or undefined where a quote is not closed. `operator`: the first unquoted `|`, `&`, `;`, `<`, `>`. */
export interface Words {
  readonly words: readonly string[]
  readonly operator?: string
}

/** Splits `line` (XCU 2.2: quoting). Undefined where a quote is not closed or a backslash ends it. */
export function splitWords(line: string): Words | undefined {
  const words: string[] = []
  let word: string | undefined
  let operator: string | undefined
  let quote = ''
  for (let i = 0; i < line.length; i++) {
    const char = line.charAt(i)
    if (quote === "'") {
      if (char === quote) quote = ''
      else word = (word ?? '') + char
    } else if (char === '\\') {
      const next = line[++i]
      if (next === undefined) return undefined
      // Inside double quotes a backslash is itself before anything that is not special there.
      const isKept = quote === '"' && !'$`"\\\n'.includes(next)
      word = (word ?? '') + (next === '\n' ? '' : isKept ? `\\${next}` : next)
    } else if (quote === '"') {
      if (char === quote) quote = ''
      else word = (word ?? '') + char
    } else if (char === '"' || char === "'") {
      quote = char
      word ??= ''
    } else if (/\s/.test(char)) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else {
      if ('|&;<>'.includes(char)) operator ??= char
      word = (word ?? '') + char
    }
  }
  if (quote !== '') return undefined
  if (word !== undefined) words.push(word)
  return operator === undefined ? { words } : { words, operator }
}
