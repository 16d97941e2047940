import { ByteReader } from './byte-reader.js';

/*
 * How Parquet packs numbers. Every function throws an Error where the bytes end early or make no sense, and takes no more
 * memory than the values that it is asked for.
 */

/** Whole numbers of a fixed width in bits, as runs of one number or packed side by side. */
export function readRuns(bytes: Uint8Array, width: number, count: number): Uint32Array {
  const values = new Uint32Array(count);
  const reader = new ByteReader(bytes);
  const byteWidth = Math.ceil(width / 8);
  let done = 0;
  while (done < count) {
    const header = reader.varint();
    if (header % 2 === 0) {
      const length = Math.min(header / 2, count - done);
      let value = 0;
      for (let i = 0; i < byteWidth; i++) value += reader.byte() * 2 ** (8 * i);
      values.fill(value, done, done + length);
      done += length;
    } else {
      const groups = (header - 1) / 2; // of 8 values; the last may go beyond those that are needed
      const length = Math.min(groups * 8, count - done);
      const packed = reader.take(Math.min(groups * width, reader.left));
      unpack(packed, width, values, done, length);
      done += length;
    }
  }
  return values;
}

function unpack(packed: Uint8Array, width: number, values: Uint32Array, from: number, count: number): void {
  if (packed.length * 8 < width * count) throw new Error('packed numbers end early');
  let at = 0;
  let bits = 0; // how many bits of `held` are still to be used
  let held = 0;
  for (let i = from; i < from + count; i++) {
    while (bits < width) {
      held += packed[at++]! * 2 ** bits;
      bits += 8;
    }
    const unit = 2 ** width;
    values[i] = held % unit;
    held = Math.floor(held / unit);
    bits -= width;
  }
}

/** Whole numbers as differences from the one before, in blocks (DELTA_BINARY_PACKED). */
export function readDeltas(reader: ByteReader, count: number): BigInt64Array {
  const blockSize = reader.varint();
  const parts = reader.varint();
  const perPart = blockSize / parts;
  if (!(Number.isInteger(perPart) && perPart > 0 && perPart % 32 === 0))
    throw new Error(`blocks of ${blockSize} numbers in ${parts} parts are not possible`);
  const total = reader.varint();
  if (total !== count) throw new Error(`there are ${total} numbers instead of ${count}`);
  const values = new BigInt64Array(count);
  let value = reader.bigZigzag();
  let done = 0;
  if (count > 0) values[done++] = value;
  while (done < count) {
    const least = reader.bigZigzag();
    const widths = reader.take(parts);
    for (let part = 0; part < parts && done < count; part++) {
      const width = widths[part]!;
      if (width > 64) throw new Error(`numbers of ${width} bits are not possible`);
      // The bytes of the last part are always as many as for a full one, but some writers cut them.
      const packed = reader.take(Math.min((perPart * width) / 8, reader.left));
      const length = Math.min(perPart, count - done);
      if (packed.length * 8 < width * length) throw new Error('packed differences end early');
      let held = 0n;
      let bits = 0;
      let at = 0;
      const mask = (1n << BigInt(width)) - 1n;
      for (let i = 0; i < length; i++) {
        while (bits < width) {
          held |= BigInt(packed[at++]!) << BigInt(bits);
          bits += 8;
        }
        value = BigInt.asIntN(64, value + least + (held & mask));
        held >>= BigInt(width);
        bits -= width;
        values[done++] = value;
      }
    }
  }
  return values;
}

/** {@link readDeltas} for the lengths of byte strings. */
export function readLengths(reader: ByteReader, count: number): readonly number[] {
  return Array.from(readDeltas(reader, count), (length) => {
    if (length < 0n || length > 0x7fffffffn) throw new Error(`a length of ${length} bytes is not possible`);
    return Number(length);
  });
}
