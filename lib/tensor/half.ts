/*
 * Numbers in half precision, as JavaScript of Node 20 has none.
 */

const word = new Float32Array(1);
const bits = new Uint32Array(word.buffer);

/** The bits of the nearest float16; of two as near the even one. Beyond 65,504 that is infinity. */
export function toHalf(value: number): number {
  word[0] = value;
  const all = bits[0]!;
  const sign = (all >>> 16) & 0x8000;
  const size = all & 0x7fffffff;
  if (size >= 0x47800000) return sign | (size > 0x7f800000 ? 0x7e00 : 0x7c00);
  if (size < 0x38800000) {
    // Below the least normal number: so many steps of 2^-24. Adding 1/2 rounds a float32 to such steps, to even ones.
    word[0] = Math.fround(Math.abs(value)) + 0.5;
    return sign | (bits[0]! - 0x3f000000);
  }
  return sign | nearestNormal(size);
}

/** Of the bits of a float32 without its sign, between the least normal float16 and 65,536. */
function nearestNormal(size: number): number {
  return (size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13;
}

/** {@link toHalf} of each number. */
export function toHalves(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let place = 0; place < values.length; place++) {
    const all = words[place]!;
    const size = all & 0x7fffffff;
    const isNormal = size >= 0x38800000 && size < 0x47800000;
    halves[place] = isNormal ? ((all >>> 16) & 0x8000) | nearestNormal(size) : toHalf(values[place]!);
  }
  return halves;
}

/** The number that the bits of a float16 mean. */
export function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
