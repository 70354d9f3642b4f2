import t from 'tap'
import fc from 'fast-check'
import { FrameReader, composeFrame } from '../../../resolver/listen/framing.js'

function readAll(reader: FrameReader): string[] {
  const all: string[] = []
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
    all.push(frame.toString('latin1'))
  }
  return all
}

t.test('FrameReader gives the messages of a stream however it is cut', async t => {
  const message = fc.uint8Array({ minLength: 12, maxLength: 3000 })
  fc.assert(
    fc.property(fc.array(message, { maxLength: 8 }), fc.array(fc.nat(4000)), (messages, cuts) => {
      const stream = Buffer.concat(messages.map(bytes => composeFrame(Buffer.from(bytes))))
      const places = [...cuts.filter(cut => cut < stream.length), stream.length]
      const reader = new FrameReader()
      const all: string[] = []
      let at = 0
      for (const place of places.sort((a, b) => a - b)) {
        reader.push(stream.subarray(at, place))
        all.push(...readAll(reader))
        at = place
      }
      t.strictSame(
        all,
        messages.map(bytes => Buffer.from(bytes).toString('latin1')),
      )
    }),
    { numRuns: 50 },
  )
})

t.test('FrameReader skips frames too short for a header', async t => {
  const reader = new FrameReader()
  reader.push(Buffer.from([0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 12]))
  reader.push(Buffer.from('header bytes'))
  t.strictSame(readAll(reader), ['header bytes'])
})

t.test('FrameReader waits for the rest of a cut frame', async t => {
  const reader = new FrameReader()
  reader.push(Buffer.from([0, 0x3c]))
  t.equal(reader.next(), undefined)
  reader.push(Buffer.alloc(0x3b))
  t.equal(reader.next(), undefined)
  reader.push(Buffer.alloc(1))
  t.equal(reader.next()?.length, 0x3c)
})
