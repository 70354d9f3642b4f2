import fc from 'fast-check'
import t from 'tap'
import { Table } from '../../resolver/table.js'

t.test('Table.with() behaves as a Map, and leaves the older table alone', async () => {
  const key = fc.integer({ min: 0, max: 300 }).map(n => `key${n}`)
  const change = fc.dictionary(key, fc.option(fc.nat(9), { nil: undefined }), { maxKeys: 200 })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 6 }), changes => {
      let table = Table.empty<number>()
      const map = new Map<string, number>()
      for (const each of changes) {
        const before = [...table.entries()].sort()
        const next = table.with(new Map(Object.entries(each)))
        for (const [name, value] of Object.entries(each)) {
          if (value === undefined) map.delete(name)
          else map.set(name, value)
        }
        if (JSON.stringify([...table.entries()].sort()) !== JSON.stringify(before)) return false
        table = next
      }
      const isSame = [...map].every(([name, value]) => table.get(name) === value)
      return isSame && table.size === map.size && [...table.entries()].length === map.size
    }),
  )
})
