/** A struct of Thrift: its values by their field numbers. */
export type ThriftStruct = ReadonlyMap<number, ThriftValue>;
export type ThriftValue = boolean | number | Uint8Array | ThriftStruct | readonly ThriftValue[];

const MAX_DEPTH = 16;

/**
 * Reads what Parquet writes in Thrift's compact protocol. It takes no more memory and no more steps than there are bytes,
 * whatever they say.
 *
 * Every method throws an Error where the bytes end early or make no sense.
 */
export class ThriftReader {
  readonly #bytes: Uint8Array;
  /** Where the next read begins. */
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.at = at;
  }

  struct(depth = 0): ThriftStruct {
    if (depth > MAX_DEPTH) throw new Error('its metadata is nested too deep');
    const fields = new Map<number, ThriftValue>();
    let id = 0;
    for (;;) {
      const head = this.#byte();
      if (head === 0) return fields;
      id = head >> 4 === 0 ? this.#zigzag() : id + (head >> 4);
      fields.set(id, this.#value(head & 15, depth));
    }
  }

  #value(type: number, depth: number): ThriftValue {
    switch (type) {
      case 1:
        return true;
      case 2:
        return false;
      case 3:
        return (this.#byte() << 24) >> 24;
      case 4:
      case 5:
      case 6:
        return this.#zigzag();
      case 7: {
        const bytes = this.#take(8);
        return new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0, true);
      }
      case 8:
        return this.#take(this.#varint());
      case 9:
        return this.#list(depth);
      case 12:
        return this.struct(depth + 1);
      default:
        throw new Error(`its metadata holds a value of the unknown type ${type}`);
    }
  }

  #list(depth: number): ThriftValue[] {
    const head = this.#byte();
    const size = head >> 4 === 15 ? this.#varint() : head >> 4;
    const type = head & 15;
    if (size > this.#bytes.length - this.at) throw new Error(`its metadata has a list of ${size} items`);
    const items: ThriftValue[] = [];
    for (let i = 0; i < size; i++)
      items.push(type === 1 || type === 2 ? this.#byte() === 1 : this.#value(type, depth + 1));
    return items;
  }

  #take(length: number): Uint8Array {
    const begin = this.at;
    if (length > this.#bytes.length - begin) throw new Error('its metadata ends early');
    this.at += length;
    return this.#bytes.subarray(begin, this.at);
  }

  #byte(): number {
    return this.#take(1)[0]!;
  }

  /** An unsigned number of at most 10 bytes; exact up to 2^53. */
  #varint(): number {
    let value = 0;
    for (let place = 0; place < 10; place++) {
      const byte = this.#byte();
      value += (byte & 127) * 2 ** (7 * place);
      if (byte < 128) return value;
    }
    throw new Error('its metadata holds a number that does not end');
  }

  #zigzag(): number {
    const value = this.#varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}

/** A field that must be a whole number from 0, as sizes, counts and places are. */
export function countField(struct: ThriftStruct, id: number, what: string): number {
  const value = struct.get(id);
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new Error(`its metadata gives no valid ${what}`);
}

export function structField(struct: ThriftStruct, id: number): ThriftStruct | undefined {
  const value = struct.get(id);
  return isStruct(value) ? value : undefined;
}

export function structsField(struct: ThriftStruct, id: number, what: string): readonly ThriftStruct[] {
  const value = struct.get(id);
  if (Array.isArray(value) && value.every(isStruct)) return value;
  throw new Error(`its metadata gives no valid ${what}`);
}

function isStruct(value: unknown): value is ThriftStruct {
  return typeof value === 'object' && value !== null && 'get' in value;
}
