/** The small languages inside a Compose file: durations, command lines, env files, variables. */

import t from 'tap'
import { parseDuration } from '../../../src/providers/compose/duration.js'
import { parseEnvFile } from '../../../src/providers/compose/env-file.js'
import { interpolate } from '../../../src/providers/compose/interpolate.js'
import { nearestWord, normaliseProjectName } from '../../../src/providers/compose/name.js'
import { splitWords } from '../../../src/providers/compose/words.js'

t.test('parseDuration() gives whole milliseconds, or undefined', async t => {
  const table: readonly [string, number | undefined][] = [
    ['0', 0],
    ['0s', 0],
    ['10s', 10_000],
    ['1m30s', 90_000],
    ['1h5m30s20ms', 3_930_020],
    ['1.5s', 1_500],
    ['500us', 1],
    ['2d', 172_800_000],
    ['', undefined],
    ['30', undefined],
    ['s', undefined],
    ['1m 30s', undefined],
    ['-1s', undefined],
    ['10s!', undefined],
  ]
  for (const [text, expected] of table) t.equal(parseDuration(text), expected, `"${text}"`)
})

t.test('splitWords() quotes as a shell does', async t => {
  const table: readonly [string, readonly string[] | undefined][] = [
    ['', []],
    ['  a   b\tc\n', ['a', 'b', 'c']],
    ['a "b c" \'d e\'', ['a', 'b c', 'd e']],
    ['a"b"c', ['abc']],
    ['"" \'\'', ['', '']],
    ['a\\ b', ['a b']],
    ['"a\\"b\\n"', ['a"b\\n']],
    ["'a\\'", ['a\\']],
    ['"a', undefined],
    ["'a", undefined],
    ['a\\', undefined],
  ]
  for (const [line, words] of table) t.strictSame(splitWords(line)?.words, words, line)
  t.equal(splitWords('a "&" > b | c')?.operator, '>')
})

t.test('parseEnvFile() reads every form of a line', async t => {
  const text = [
    '# a comment',
    'A=1',
    '',
    'export B = two # with a comment',
    'C="a\\tb # not one" # one',
    "D='$A \\' \\n'",
    'E',
    'F=',
    'G="over',
    'lines"',
    'H=1#2',
    'not a line',
    'I="open',
  ].join('\r\n')
  const value = (name: string, value: string, line: number, isLiteral = false) => ({
    kind: 'value',
    name,
    value,
    isLiteral,
    line,
  })
  t.strictSame(parseEnvFile(text, false), [
    value('A', '1', 2),
    value('B', 'two', 4),
    value('C', 'a\tb # not one', 5),
    value('D', "$A ' \\n", 6, true),
    { kind: 'inherited', name: 'E', line: 7 },
    value('F', '', 8),
    value('G', 'over\nlines', 9),
    value('H', '1#2', 11),
    { kind: 'problem', message: 'is not NAME=value', line: 12 },
    value('I', '"open', 13),
  ])
})

t.test('interpolate() knows every operator', async t => {
  const environment = { SET: 'v', EMPTY: '' }
  const table: readonly [string, string | undefined][] = [
    ['$SET', 'v'],
    ['${SET}x', 'vx'],
    ['$SETx', ''],
    ['$$SET', '$SET'],
    ['$$$SET', '$v'],
    ['${EMPTY:-d}', 'd'],
    ['${EMPTY-d}', ''],
    ['${NONE:-${SET}}', 'v'],
    ['${NONE:-${NONE:-deep}}', 'deep'],
    ['${NONE:-a}b}', 'ab}'],
    ['${SET:+x}', 'x'],
    ['${EMPTY:+x}', ''],
    ['${EMPTY+x}', 'x'],
    ['${NONE+x}', ''],
    ['${SET:?no}', 'v'],
    ['${EMPTY:?no}', undefined],
    ['${EMPTY?no}', ''],
    ['${NONE?no}', undefined],
    ['${SET:-$}', 'v'],
    ['${}', undefined],
    ['${SET/a/b}', undefined],
    ['$', undefined],
    ['${toString}', ''],
  ]
  for (const [template, expected] of table) {
    const result = interpolate(template, { environment, onUnset: () => {} })
    t.equal(result.kind === 'text' ? result.text : undefined, expected, template)
  }
})

t.test('nearestWord() suggests only what is near', async t => {
  const known = ['command', 'ports', 'dns', 'networks']
  t.equal(nearestWord('comand', known), 'command')
  t.equal(nearestWord('Ports', known), 'ports')
  t.equal(nearestWord('network', known), 'networks')
  t.equal(nearestWord('xyz', known), undefined)
})

t.test('normaliseProjectName() keeps what a project name may hold', async t => {
  t.equal(normaliseProjectName('My Shop_2.0'), 'myshop_20')
  t.equal(normaliseProjectName('--_a'), 'a')
  t.equal(normaliseProjectName('ÄÖ'), '')
})
