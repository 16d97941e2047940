import type { StoredTensor } from '../safetensors/safetensors.js';
import { fromStored } from '../safetensors/stored-tensor.js';
import { callAsync } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Bytes } from './wire.js';

/** A weight of a model. It is read when it is written, so that one at a time is in memory. */
export interface Weight {
  readonly shape: readonly number[];
  readonly read: () => Promise<StoredTensor>;
}

/** A weight that is in memory. */
export const weightOf = (tensor: StoredTensor): Weight => ({
  shape: tensor.shape,
  read: () => Promise.resolve(tensor),
});

/** Calls an operator of libtorch. Its tensor lives as long as the conversion that it is for. */
export type Calculate = (operator: string, ...args: readonly unknown[]) => Promise<Tensor>;

/** What becomes of a weight on its way into the file: from float32 to another tensor, whose elements are written row by row. */
export type Conversion = (weight: Tensor, calculate: Calculate) => Promise<Tensor> | Tensor;

/** The bytes of a weight that is converted. @throws GradCacheError `OUT_OF_MEMORY`, and as reading it does */
export async function convertedBytes({ read }: Weight, convert: Conversion): Promise<Bytes> {
  const made: Tensor[] = [];
  const keep = (tensor: Tensor): Tensor => {
    made.push(tensor);
    return tensor;
  };
  const calculate: Calculate = async (operator, ...args) => keep(await callAsync(operator, ...args));
  try {
    const stored = keep(fromStored(await read()));
    const wide = await calculate('aten::to.dtype_layout', stored, { dtype: 'float32' });
    return await keep(await convert(wide, calculate)).bytes();
  } finally {
    for (const tensor of made) tensor.dispose();
  }
}

/** The numbers as they are, in a type. */
export const inType =
  (dtype: 'float32' | 'float16'): Conversion =>
  (weight, calculate) =>
    calculate('aten::to.dtype_layout', weight, { dtype });

/** A matrix column by column, as the operator that multiplies with it has it. */
export const transposed =
  (convert: Conversion): Conversion =>
  async (weight, calculate) =>
    convert(await calculate('aten::t', weight), calculate);

/** A matrix in eight bits: unsigned numbers, less {@link ZERO}, times a float32 scale for each row. */
export interface EightBits {
  readonly values: () => Promise<Bytes>;
  /** Found by `values`, behind which it is written. */
  readonly scales: () => Promise<Bytes>;
}

/**
 * What stands for 0. With signed numbers, processors without VNNI would add products in 16 bits, where they overflow; onnxruntime
 * takes a bit of the weights away for that (`reduce_range`). Products of unsigned numbers are exact everywhere.
 */
export const ZERO = 128;
/** The largest of a row is so much above or below. */
const MOST = 127;
/** The scale of a row of zeros: any but 0. */
const LEAST = 1e-30;

/** @param order `'columns'`: values are written column by column */
export function inEightBits(weight: Weight, order: 'rows' | 'columns'): EightBits {
  let scales: Bytes | undefined;
  const round: Conversion = async (wide, calculate) => {
    const largest = await calculate('aten::amax', await calculate('aten::abs', wide), [1], true);
    const scale = await calculate(
      'aten::clamp_min',
      await calculate('aten::div.Scalar', largest, MOST),
      LEAST,
    );
    scales = await scale.bytes();
    const whole = await calculate('aten::round', await calculate('aten::div.Tensor', wide, scale));
    const moved = await calculate('aten::add.Scalar', whole, ZERO);
    const small = await calculate('aten::to.dtype_layout', moved, { dtype: 'uint8' });
    return order === 'rows' ? small : calculate('aten::t', small);
  };
  const values = () => convertedBytes(weight, round);
  return {
    values,
    scales: async () => {
      if (scales === undefined) await values();
      return scales!;
    },
  };
}
