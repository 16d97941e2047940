import { ByteReader } from './byte-reader.js';

/** Unpacks a block of LZ4. @throws Error where the bytes make no sense */
export function unpackLz4(bytes: Uint8Array, length: number): Uint8Array {
  const output = new Uint8Array(length);
  const reader = new ByteReader(bytes);
  let done = 0;
  while (reader.left > 0) {
    const token = reader.byte();
    const literals = reader.take(lengthOf(token >> 4, reader));
    if (literals.length > length - done) throw new Error('unpacked LZ4 is longer than it should be');
    output.set(literals, done);
    done += literals.length;
    if (reader.left === 0) break;
    const offset = reader.byte() + reader.byte() * 256;
    const match = lengthOf(token & 15, reader) + 4;
    if (offset === 0 || offset > done || match > length - done)
      throw new Error('a repetition in LZ4 reaches beyond what is unpacked');
    for (const end = done + match; done < end; done++) output[done] = output[done - offset]!; // may overlap itself
  }
  if (done !== length) throw new Error(`LZ4 unpacks into ${done} bytes instead of ${length}`);
  return output;
}

/** Unpacks LZ4 as Hadoop frames it, in blocks with both sizes in front; or, as some writers have it, without. */
export function unpackHadoopLz4(bytes: Uint8Array, length: number): Uint8Array {
  const parts: Uint8Array[] = [];
  let done = 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length;) {
    const unpacked = at + 8 <= bytes.length ? view.getUint32(at) : Infinity;
    const packed = at + 8 <= bytes.length ? view.getUint32(at + 4) : Infinity;
    if (unpacked > length - done || packed > bytes.length - at - 8) return unpackLz4(bytes, length);
    parts.push(unpackLz4(bytes.subarray(at + 8, at + 8 + packed), unpacked));
    at += 8 + packed;
    done += unpacked;
  }
  return Buffer.concat(parts);
}

function lengthOf(first: number, reader: ByteReader): number {
  let length = first;
  if (first === 15) {
    let more: number;
    do {
      more = reader.byte();
      length += more;
    } while (more === 255);
  }
  return length;
}
