import t from 'tap'
import { composeEnvironment, planEnvironment } from '../../src/runtime/environment.js'

t.test('planEnvironment() lets a plain shell hand on plain names', async t => {
  t.strictSame(planEnvironment({ PATH: '/bin', A_1: 'x=y' }, true), {
    inherited: ['PATH=/bin', 'A_1=x=y'],
    prefix: [],
  })
})

for (const name of [
  'discovery.type',
  'a-b',
  '1A',
  'é',
  'IFS',
  'PWD',
  'LD_PRELOAD',
  '_',
  'BASH_ENV',
]) {
  t.test(`planEnvironment() sets ${name} past the shell`, async t => {
    t.strictSame(planEnvironment({ [name]: 'v' }, true), {
      inherited: [],
      prefix: ['/usr/bin/env', `${name}=v`],
    })
  })
}

t.test('planEnvironment() takes away what bash adds', async t => {
  const { prefix } = planEnvironment({ A: 'v' }, false)
  t.strictSame(prefix.join(' '), '/usr/bin/env -u _ -u SHLVL -u PWD -u OLDPWD')
})

for (const [name, environment] of [
  ['an empty name', { '': 'x' }],
  ['a name with =', { 'a=b': 'x' }],
  ['a NUL byte', { a: 'x\0y' }],
] as const) {
  t.test(`composeEnvironment() rejects ${name}`, async t => {
    t.throws(() => composeEnvironment(environment), { code: 'RUNTIME_BAD_SPECIFICATION' })
  })
}
