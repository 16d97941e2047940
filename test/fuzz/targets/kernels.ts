import { backward, call, Tensor } from '../../../lib/index.js';
import { normals } from '../../kernels/support.js';
import { garbage, randomTensor, type Random } from '../random-arguments.js';
import type { Target } from '../target.js';

// On the CPU alone: an index outside its table ends a CUDA context, here as in PyTorch.
const matrix = (...shape: number[]): Tensor => {
  const tensor = Tensor.from(normals(shape[0]! * (shape[1] ?? 1), 3), { shape, dtype: 'float32' });
  tensor.requiresGrad = true;
  return tensor;
};
const indices = (...values: number[]): Tensor => Tensor.from(values, { dtype: 'int64' });

const valid: Readonly<Record<string, () => unknown[]>> = {
  dropout: () => [matrix(3, 4), 0.2, 1, 0],
  norm: () => [matrix(3, 4), matrix(4), matrix(3, 4), matrix(4), matrix(4), 1e-5, 0.2, 1, 0],
  activation: () => [matrix(3, 4), matrix(4), 'gelu'],
  attention: () => [matrix(5, 12), [0, 2, 5], 2, matrix(2, 5), 0.2, 1, 0],
  pool: () => [matrix(5, 4), [0, 2, 5], 'max', true],
  embed: () => [
    ...[matrix(5, 4), matrix(3, 4), matrix(4), indices(0, 4, 1), indices(0, 1, 2)],
    ...[matrix(4), matrix(4), 1e-5, 0.2, 1, 0],
  ],
};

/** Another value in the place of one, mostly of its kind. */
function change(value: unknown, random: Random): unknown {
  if (random.next() < 0.2) return garbage(random);
  if (value instanceof Tensor) {
    return random.pick<() => unknown>([
      () => randomTensor(random),
      () => value.narrow(0, 0, 1),
      () => call('aten::cat', [value, value], 0),
      () => call('aten::expand', value, [2, ...value.shape]),
      () => call('aten::neg', value),
      () => call('aten::_neg_view', value),
      () => value.to({ dtype: random.pick(['float64', 'bfloat16', 'float16', 'int64']) }),
      () => value.mul(random.pick([0, NaN, Infinity, 1e30])),
      () => call('aten::_efficientzerotensor', value.shape, { dtype: value.dtype }),
      () => null,
    ])();
  }
  if (Array.isArray(value)) {
    return value.map((element: unknown) => (random.next() < 0.5 ? element : random.below(9) - 2));
  }
  return random.pick([0, 1, -1, 0.5, 2, 3, 2 ** 31, -(2 ** 52), NaN, -Infinity, 1n << 62n, 'relu', '']);
}

/** The package's own operators with arguments that are wrong in one place or two, and what their backward makes of it. */
export const kernels: Target = {
  count: 3000,
  least: { answered: 300, refused: 300 },
  prepare: () => async (random, tell) => {
    const [name, make] = random.pick(Object.entries(valid));
    tell(name);
    const args = make();
    for (let changes = 1 + random.below(2); changes > 0; changes--) {
      const place = random.below(args.length);
      args[place] = change(args[place], random);
    }
    const output = call(`gradcache::${name}`, ...args);
    if (output.requiresGrad) await backward([output.sum()], [null]);
  },
};
