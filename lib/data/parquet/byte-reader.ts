/** Reads bytes one after the other. Every method throws an Error where they end early. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** How many bytes are left. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(length: number): Uint8Array {
    const begin = this.#skip(length);
    return this.#bytes.subarray(begin, begin + length);
  }

  byte(): number {
    return this.#bytes[this.#skip(1)]!;
  }

  uint32(): number {
    return this.#view.getUint32(this.#skip(4), true);
  }

  int32(): number {
    return this.#view.getInt32(this.#skip(4), true);
  }

  int64(): bigint {
    return this.#view.getBigInt64(this.#skip(8), true);
  }

  float(): number {
    return this.#view.getFloat32(this.#skip(4), true);
  }

  double(): number {
    return this.#view.getFloat64(this.#skip(8), true);
  }

  /** An unsigned number below 2^35 in 7 bits a byte. */
  varint(): number {
    let value = 0;
    for (let place = 0; place < 5; place++) {
      const byte = this.byte();
      value += (byte & 127) * 2 ** (7 * place);
      if (byte < 128) return value;
    }
    throw new Error('a number does not end');
  }

  /** A number of 64 bits with a sign, in 7 bits a byte. */
  bigZigzag(): bigint {
    let value = 0n;
    for (let place = 0n; place < 10n; place++) {
      const byte = this.byte();
      value |= BigInt(byte & 127) << (7n * place);
      if (byte < 128) return BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n));
    }
    throw new Error('a number does not end');
  }

  #skip(length: number): number {
    if (length > this.left) throw new Error(`${length} bytes are needed where ${this.left} are left`);
    const begin = this.#at;
    this.#at += length;
    return begin;
  }
}
