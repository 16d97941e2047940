import { ByteReader } from './byte-reader.js';

/** Unpacks Snappy's block format. @throws Error where the bytes make no sense */
export function unpackSnappy(bytes: Uint8Array, length: number): Uint8Array {
  const reader = new ByteReader(bytes);
  const told = reader.varint();
  if (told !== length) throw new Error(`Snappy tells ${told} bytes instead of ${length}`);
  const output = new Uint8Array(length);
  let done = 0;
  while (reader.left > 0) {
    const tag = reader.byte();
    if ((tag & 3) === 0) {
      const literals = reader.take(literalLength(tag >> 2, reader));
      if (literals.length > length - done) throw new Error('unpacked Snappy is longer than it should be');
      output.set(literals, done);
      done += literals.length;
      continue;
    }
    const short = (tag & 3) === 1;
    const match = short ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const offset = short ? (tag >> 5) * 256 + reader.byte() : littleEndian((tag & 3) === 2 ? 2 : 4, reader);
    if (offset === 0 || offset > done || match > length - done)
      throw new Error('a repetition in Snappy reaches beyond what is unpacked');
    for (const end = done + match; done < end; done++) output[done] = output[done - offset]!; // may overlap itself
  }
  if (done !== length) throw new Error(`Snappy unpacks into ${done} bytes instead of ${length}`);
  return output;
}

/** Up to 60, a length stands in its tag; above, in the 1 to 4 bytes that follow. */
function literalLength(told: number, reader: ByteReader): number {
  return (told < 60 ? told : littleEndian(told - 59, reader)) + 1;
}

function littleEndian(bytes: number, reader: ByteReader): number {
  let value = 0;
  for (let i = 0; i < bytes; i++) value += reader.byte() * 2 ** (8 * i);
  return value;
}
