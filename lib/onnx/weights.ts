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

/** A weight in eight bits: int8 numbers, and a scale in float32 for each row of the matrix. */
export interface EightBits {
  readonly values: () => Promise<Bytes>;
  /** Found by `values`, behind which it is written. */
  readonly scales: () => Promise<Bytes>;
}

/** The scale of a row of zeros: any but 0. */
const LEAST = 1e-30;

/**
 * Rounds each row of a matrix to whole numbers from -most to most.
 *
 * @param order `'columns'`: values are written column by column
 */
export function inEightBits(weight: Weight, most: number, order: 'rows' | 'columns'): EightBits {
  let scales: Bytes | undefined;
  const round: Conversion = async (wide, calculate) => {
    const largest = await calculate('aten::amax', await calculate('aten::abs', wide), [1], true);
    const scale = await calculate(
      'aten::clamp_min',
      await calculate('aten::div.Scalar', largest, most),
      LEAST,
    );
    scales = await scale.bytes();
    const whole = await calculate('aten::round', await calculate('aten::div.Tensor', wide, scale));
    const small = await calculate('aten::to.dtype_layout', whole, { dtype: 'int8' });
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
