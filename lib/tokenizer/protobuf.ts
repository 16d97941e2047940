/*
 * The wire format of protocol buffers, read: a message is a list of fields, each with its number. The bytes come from outside.
 */

/** A field of a message. Numbers of variable length are given as the lowest 32 bits, signed, as an `int32` or an enum has them. */
export type Field =
  | { readonly number: number; readonly kind: 'integer'; readonly value: number }
  | { readonly number: number; readonly kind: 'bytes'; readonly value: Uint8Array }
  | { readonly number: number; readonly kind: 'fixed32' | 'fixed64'; readonly value: DataView };

/**
 * The fields of a message in their order.
 *
 * @throws Error that says what is wrong with the bytes
 */
export function* fieldsOf(message: Uint8Array): Generator<Field> {
  let at = 0;
  const integer = (): number => {
    let value = 0;
    for (let place = 0; place < 10; place++) {
      const byte = message[at++];
      if (byte === undefined) throw new Error('it is cut off inside a number');
      if (place < 5) value |= (byte & 127) << (7 * place);
      if (byte < 128) return value;
    }
    throw new Error('a number has more than ten bytes');
  };
  const take = (count: number): Uint8Array => {
    if (count < 0 || count > message.length - at) throw new Error('it is cut off inside a field');
    at += count;
    return message.subarray(at - count, at);
  };
  while (at < message.length) {
    const tag = integer();
    const number = tag >>> 3;
    if (number === 0) throw new Error('a field has the number 0');
    switch (tag & 7) {
      case 0:
        yield { number, kind: 'integer', value: integer() };
        break;
      case 1:
        yield { number, kind: 'fixed64', value: viewOf(take(8)) };
        break;
      case 2:
        yield { number, kind: 'bytes', value: take(integer()) };
        break;
      case 5:
        yield { number, kind: 'fixed32', value: viewOf(take(4)) };
        break;
      default:
        throw new Error(`a field has the type ${tag & 7}, which none has`);
    }
  }
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
