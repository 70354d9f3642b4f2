import fc from 'fast-check'
import t from 'tap'
import { ageTtls, measureLifetime, setTtls } from '../../../resolver/forward/lifetime.js'

interface RecordShape {
  readonly owner: Buffer
  readonly ttl: number
  readonly data: Uint8Array
}

const questionBytes = Buffer.from('01610000010001', 'hex')
const questionEnd = 12 + questionBytes.length

const records = fc.array(
  fc.record({
    owner: fc.constantFrom(
      Buffer.from('c00c', 'hex'),
      Buffer.from('016200', 'hex'),
      Buffer.from([0]),
    ),
    ttl: fc.integer({ min: 0, max: 0x7fffffff }),
    data: fc.uint8Array({ maxLength: 40 }),
  }),
  { minLength: 1, maxLength: 20 },
)

/** A reply of A records with the given TTLs, and where those TTLs are. */
function replyOf(shapes: readonly RecordShape[]): { bytes: Buffer; offsets: number[] } {
  const header = Buffer.from('000081800001000000000000', 'hex')
  header.writeUInt16BE(shapes.length, 6)
  let bytes = Buffer.concat([header, questionBytes])
  const offsets: number[] = []
  for (const { owner, ttl, data } of shapes) {
    const fixed = Buffer.from('00010001000000000000', 'hex')
    fixed.writeUInt32BE(ttl, 4)
    fixed.writeUInt16BE(data.length, 8)
    offsets.push(bytes.length + owner.length + 4)
    bytes = Buffer.concat([bytes, owner, fixed, data])
  }
  return { bytes, offsets }
}

t.test('measureLifetime() finds every TTL and the least of them', async t => {
  const property = fc.property(records, shapes => {
    const { bytes, offsets } = replyOf(shapes)
    const lifetime = measureLifetime(bytes, questionEnd)
    const least = Math.min(60, ...shapes.map(shape => shape.ttl))
    return (
      lifetime !== undefined &&
      lifetime.seconds === least &&
      lifetime.ttlOffsets.join() === offsets.join()
    )
  })
  fc.assert(property)
  t.pass('holds')
})

t.test('ageTtls() lowers every TTL to no less than 0 and touches nothing else', async t => {
  const property = fc.property(records, fc.integer({ min: 0, max: 100 }), (shapes, elapsed) => {
    const { bytes, offsets } = replyOf(shapes)
    ageTtls(bytes, offsets, elapsed)
    const aged = shapes.map(shape => ({ ...shape, ttl: Math.max(0, shape.ttl - elapsed) }))
    return bytes.equals(replyOf(aged).bytes)
  })
  fc.assert(property)
  t.pass('holds')
})

t.test('setTtls() sets every TTL and touches nothing else', async t => {
  const property = fc.property(records, fc.integer({ min: 1, max: 30 }), (shapes, seconds) => {
    const { bytes, offsets } = replyOf(shapes)
    setTtls(bytes, offsets, seconds)
    return bytes.equals(replyOf(shapes.map(shape => ({ ...shape, ttl: seconds }))).bytes)
  })
  fc.assert(property)
  t.pass('holds')
})

t.test('measureLifetime() of any bytes never throws', async t => {
  const property = fc.property(fc.uint8Array({ minLength: 12, maxLength: 200 }), bytes => {
    measureLifetime(Buffer.from(bytes), 12)
  })
  fc.assert(property, { numRuns: 2000 })
  t.pass('holds')
})

t.test('measureLifetime() refuses a reply whose records are cut', async t => {
  const { bytes } = replyOf([{ owner: Buffer.from([0]), ttl: 60, data: Buffer.alloc(4) }])
  t.equal(measureLifetime(bytes.subarray(0, bytes.length - 1), questionEnd), undefined)
})
