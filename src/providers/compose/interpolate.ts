/** Variables in values: `$VAR`, `${VAR:-default}` and their kin (Compose Specification, 12). */

/** What a text needs: variables, and somewhere to say that one is not set. */
export interface Variables {
  readonly environment: Readonly<Record<string, string>>
  /** Called with a variable that is not set and has no default. */
  readonly onUnset: (name: string) => void
}

/** The text with its variables put in, or a sentence about why that cannot be. */
export type Interpolated =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'problem'; readonly message: string }

/** How deep `${A:-${B:-…}}` may go. */
const MAX_DEPTH = 32

const NAME = /[_a-zA-Z][_a-zA-Z0-9]*/y

/** Puts variables into `template`. A default that is not needed is not looked at. */
export function interpolate(template: string, variables: Variables, depth = 0): Interpolated {
  let text = ''
  let from = 0
  for (;;) {
    const dollar = template.indexOf('$', from)
    if (dollar < 0) return { kind: 'text', text: text + template.slice(from) }
    text += template.slice(from, dollar)
    if (template[dollar + 1] === '$') {
      text += '$'
      from = dollar + 2
      continue
    }
    const use = parseUse(template, dollar)
    if (use === undefined || depth > MAX_DEPTH) return invalid(template.slice(dollar))
    const value = resolve(use, variables, depth)
    if (value.kind === 'problem') return value
    text += value.text
    from = use.end
  }
}

/** A variable of `environment`; never one of Object's own properties. */
export function lookUp(environment: Variables['environment'], name: string): string | undefined {
  return Object.hasOwn(environment, name) ? environment[name] : undefined
}

interface Use {
  readonly name: string
  readonly operator: string
  readonly operand: string
  readonly end: number
}

function parseUse(template: string, dollar: number): Use | undefined {
  const isBraced = template[dollar + 1] === '{'
  NAME.lastIndex = dollar + (isBraced ? 2 : 1)
  const name = NAME.exec(template)?.[0]
  if (name === undefined) return undefined
  const end = NAME.lastIndex
  if (!isBraced) return { name, operator: '', operand: '', end }
  const close = closingBrace(template, dollar)
  if (close < 0) return undefined
  const operator = /^:?[-?+]/.exec(template.slice(end, close))?.[0] ?? ''
  if (operator === '' && end !== close) return undefined
  return { name, operator, operand: template.slice(end + operator.length, close), end: close + 1 }
}

/** The index of the brace that closes the `${` at `dollar`, or -1. */
function closingBrace(template: string, dollar: number): number {
  let open = 0
  for (let i = dollar; i < template.length; i++) {
    if (template.startsWith('${', i)) open += 1
    else if (template[i] === '}' && --open === 0) return i
  }
  return -1
}

function resolve(use: Use, variables: Variables, depth: number): Interpolated {
  const value = lookUp(variables.environment, use.name)
  const isThere = value !== undefined && !(use.operator.startsWith(':') && value === '')
  switch (use.operator.at(-1)) {
    case '-':
      if (isThere) return { kind: 'text', text: value }
      return interpolate(use.operand, variables, depth + 1)
    case '+':
      if (!isThere) return { kind: 'text', text: '' }
      return interpolate(use.operand, variables, depth + 1)
    case '?': {
      if (isThere) return { kind: 'text', text: value }
      const reason = interpolate(use.operand, variables, depth + 1)
      if (reason.kind === 'problem') return reason
      const tail = reason.text === '' ? '' : `: ${reason.text}`
      return { kind: 'problem', message: `the variable "${use.name}" must be set${tail}` }
    }
    default:
      if (value === undefined) variables.onUnset(use.name)
      return { kind: 'text', text: value ?? '' }
  }
}

function invalid(rest: string): Interpolated {
  const shown = rest.length > 40 ? `${rest.slice(0, 40)}…` : rest
  return {
    kind: 'problem',
    message: `"${shown}" is not a variable; write \${NAME}, or $$ for a dollar sign`,
  }
}
