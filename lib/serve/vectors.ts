import { joinedFloat32 } from '../tensor/shortest-float32.js';
import type { Representation } from './batcher.js';

/** The first numbers of a representation, and scaled to length one where asked. One of zeros stays. */
export function finished(
  row: Representation,
  { dimensions, normalize }: { readonly dimensions: number; readonly normalize: boolean },
): Float32Array {
  const cut = row.subarray(0, dimensions);
  if (!normalize) return Float32Array.from(cut);
  let squares = 0;
  for (const value of cut) squares += value * value;
  const length = Math.max(Math.sqrt(squares), 1e-12);
  return Float32Array.from(cut, (value) => value / length);
}

/** As a list in JSON. */
export function asJson(vector: Float32Array): string {
  return `[${joinedFloat32(vector)}]`;
}

/** As OpenAI's clients ask for it: the bytes of float32, the lowest first, in base64. */
export function asBase64(vector: Float32Array): string {
  const { buffer, byteOffset, byteLength } = vector;
  return `"${Buffer.from(buffer, byteOffset, byteLength).toString('base64')}"`;
}
