/*
 * The wire format of protocol buffers, as far as ONNX needs it: a message is a list of fields, each with its number.
 */

/** A field or several, ready to be written one behind the other. */
export type Bytes = Uint8Array;

/** A number in seven bits a byte, the lowest first. Negative ones are written in 64 bits. */
function variableLength(value: number | bigint): Bytes {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

const tag = (field: number, kind: number): Bytes => variableLength(field * 8 + kind);

/** A field that holds a whole number. */
export const integer = (field: number, value: number | bigint): Bytes =>
  Buffer.concat([tag(field, 0), variableLength(value)]);

/** A field that holds a float32. */
export function float32(field: number, value: number): Bytes {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([tag(field, 5), bytes]);
}

/** What stands in front of a field of so many bytes. */
export const head = (field: number, byteLength: number): Bytes =>
  Buffer.concat([tag(field, 2), variableLength(byteLength)]);

/** A field that holds text. */
export const text = (field: number, value: string): Bytes => message(field, Buffer.from(value));

/** A field that holds a message, or any other bytes. */
export function message(field: number, ...parts: readonly Bytes[]): Bytes {
  const byteLength = parts.reduce((sum, part) => sum + part.byteLength, 0);
  return Buffer.concat([head(field, byteLength), ...parts]);
}
