import { test } from 'node:test';
import { backward, call, Tensor, type DType } from '../../lib/index.js';
import { device } from '../exactness/support.js';
import { assertClose, type Numbers } from '../oracle/compare.js';
import { normals } from './support.js';

// Where attention is composed of ATen's operators, it takes some sequences at a time; these are more than it takes at once.
const OFFSETS = [0, 1300, 1303, 2400, 3400];
const [TOKENS, LONGEST, HEADS, SIZE] = [3400, 1300, 4, 8];

/** Output, gradient and the gradient of the distance bias. */
async function attend(dtype: DType, where: string): Promise<Numbers[]> {
  const leaf = (shape: [number, number], seed: number) => {
    const tensor = Tensor.from(normals(shape[0] * shape[1], seed), { shape }).to({ dtype: 'bfloat16' });
    const moved = tensor.to({ dtype, device: where });
    moved.requiresGrad = true;
    return moved;
  };
  const qkv = leaf([TOKENS, 3 * HEADS * SIZE], 1);
  const bias = leaf([HEADS, 2 * LONGEST - 1], 2);
  const out: Tensor = call('gradcache::attention', qkv, OFFSETS, HEADS, bias, 0.3, 42, 3);
  await backward([out], [out.detach()]);
  return [out, qkv.grad!, bias.grad!].map(
    (tensor) => tensor.to({ dtype: 'float64', device: 'cpu' }).valuesSync() as Numbers,
  );
}

for (const [dtype, tolerance] of device === 'cpu'
  ? ([['bfloat16', 5e-2]] as const)
  : ([
      ['float64', 1e-12],
      ['float32', 1e-5],
    ] as const)) {
  test(`${dtype} on ${device}: attention over more pairs of tokens than one rectangle takes`, async () => {
    const expected = await attend('float64', 'cpu');
    for (const [part, values] of (await attend(dtype, device)).entries())
      assertClose(values, expected[part]!, tolerance, ['output', 'gradient', 'bias gradient'][part]!);
  });
}
