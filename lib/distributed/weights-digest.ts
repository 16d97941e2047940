import { createHash } from 'node:crypto';
import { noGrad } from '../tensor/autograd.js';
import { call, callAsync } from '../tensor/operators.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';

/**
 * A digest of the bits of parameters. The bits are added up where they lie, as whole numbers, so that it is quick on a GPU, and
 * the same whatever the order of adding.
 */
export async function digestOf(parameters: readonly Parameter[]): Promise<string> {
  const hash = createHash('sha256');
  for (const { name, tensor } of parameters) {
    const sum = await sumOfBits(tensor);
    try {
      hash.update(`${name}:${String((await sum.values())[0])};`);
    } finally {
      sum.dispose();
    }
  }
  return hash.digest('hex').slice(0, 16);
}

async function sumOfBits(tensor: Tensor): Promise<Tensor> {
  const bits = noGrad(() => call('aten::view.dtype', tensor, tensor.dtype === 'float64' ? 'int64' : 'int32'));
  try {
    return await callAsync('aten::sum', bits);
  } finally {
    bits.dispose();
  }
}
