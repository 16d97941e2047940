import { backward, call, noGrad, Tensor, tidy, type DType } from '../../lib/index.js';
import { device } from '../exactness/support.js';
import type { Numbers } from '../oracle/compare.js';
import { nameOf, plain, recur, shapesOf, stepByStep, together, type Recurrence } from './recurrence.js';

/** How an operator drops out. */
export interface Dropout {
  readonly p: number;
  readonly seed: number;
  readonly site: number;
}

export const none: Dropout = { p: 0, seed: 0, site: 0 };
export const some: Dropout = { p: 0.3, seed: 42, site: 3 };

export type Inputs = Readonly<Record<string, Tensor>>;

/** An operator on inputs of fixed shapes. */
export interface Case {
  readonly name: string;
  /** Shapes of the differentiable inputs. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly drops: boolean;
  /** In bfloat16 on a GPU another kernel draws the mask by itself, from the same seed. */
  readonly ownMask?: boolean;
  run(inputs: Inputs, dropout: Dropout): Tensor;
  /** The same from ATen's operators, but for the mask, which `gradcache::dropout` gives. */
  compose(inputs: Inputs, dropout: Dropout): Tensor;
}

const drop = (x: Tensor, { p, seed, site }: Dropout): Tensor => call('gradcache::dropout', x, p, seed, site);
const layerNorm = (x: Tensor, { scale, shift }: Inputs, epsilon: number): Tensor =>
  call('aten::layer_norm', x, [x.shape[1]!], scale, shift, epsilon);
const indices = (values: readonly number[]): Tensor => Tensor.from(values, { dtype: 'int64', device });

const rootNorm = (x: Tensor, scale: Tensor): Tensor => {
  const square: Tensor = call('aten::mean.dim', x.mul(x), [1], true);
  return x.mul(call<Tensor>('aten::rsqrt', square.add(1e-5))).mul(scale);
};

/** A norm by the root of the mean square, with 1 added to the scale or not, and with a shift or none. */
function rootNormCase(rows: number, width: number, offset: 0 | 1, shifted = false): Case {
  const further = [...(offset === 1 ? ['1 added to its scale'] : []), ...(shifted ? ['a shift'] : [])];
  return {
    name: `root norm of [${rows}, ${width}]${further.length > 0 ? ` with ${further.join(' and ')}` : ''}`,
    shapes: {
      x: [rows, width],
      residual: [rows, width],
      scale: [width],
      ...(shifted && { shift: [width] }),
    },
    drops: true,
    run: ({ x, residual, scale, shift }, { p, seed, site }) =>
      call('gradcache::norm', x, null, residual, scale, shift ?? null, 1e-5, p, seed, site, true, offset),
    compose({ x, residual, scale, shift }, dropout) {
      const y = rootNorm(residual!.add(drop(x!, dropout)), scale!.add(offset));
      return shift ? y.add(shift) : y;
    },
  };
}

/** A layer norm without a shift, of rows to which nothing is added. */
function shiftlessNorm(rows: number, width: number): Case {
  return {
    name: `norm of [${rows}, ${width}] without a shift`,
    shapes: { x: [rows, width], scale: [width] },
    drops: false,
    run: ({ x, scale }) => call('gradcache::norm', x, null, null, scale, null, 1e-5, 0, 0, 0),
    compose: ({ x, scale }) => call('aten::layer_norm', x, [width], scale, null, 1e-5),
  };
}

function norm(rows: number, width: number, optional: readonly string[]): Case {
  const shapes = {
    x: [rows, width],
    ...(optional.includes('bias') && { bias: [width] }),
    ...(optional.includes('residual') && { residual: [rows, width] }),
    scale: [width],
    shift: [width],
  };
  return {
    name: `norm of [${rows}, ${width}] with ${optional.join(' and ') || 'nothing added'}`,
    shapes,
    drops: true,
    run: ({ x, bias, residual, scale, shift }, { p, seed, site }) =>
      call('gradcache::norm', x, bias ?? null, residual ?? null, scale, shift, 1e-5, p, seed, site),
    compose({ x, bias, residual, ...weights }, dropout) {
      const added = drop(bias === undefined ? x! : x!.add(bias), dropout);
      return layerNorm(residual === undefined ? added : residual.add(added), weights, 1e-5);
    },
  };
}

type Kind = 'gelu' | 'gelu_tanh' | 'relu' | 'silu';

function activated(x: Tensor, kind: Kind): Tensor {
  if (kind === 'relu') return x.relu();
  if (kind === 'silu') return call('aten::silu', x);
  return call('aten::gelu', x, { approximate: kind === 'gelu' ? 'none' : 'tanh' });
}

function activation(rows: number, width: number, kind: Kind, withBias = true): Case {
  return {
    name: `${kind} of [${rows}, ${width}]${withBias ? '' : ' without a bias'}`,
    shapes: { x: [rows, width], ...(withBias && { bias: [width] }) },
    drops: false,
    run: ({ x, bias }) => call('gradcache::activation', x, bias ?? null, kind),
    compose: ({ x, bias }) => activated(bias === undefined ? x! : x!.add(bias), kind),
  };
}

function gate(rows: number, width: number, kind: Kind, gateFirst: boolean, withBias: boolean): Case {
  return {
    name: `${kind} of a gate of [${rows}, ${width}], ${gateFirst ? 'first' : 'last'}${withBias ? ', with a bias' : ''}`,
    shapes: { x: [rows, 2 * width], ...(withBias && { bias: [2 * width] }) },
    drops: false,
    run: ({ x, bias }) => call('gradcache::gate', x, bias ?? null, kind, gateFirst),
    compose({ x, bias }) {
      const sum = bias === undefined ? x! : x!.add(bias);
      const [first, second] = [sum.narrow(1, 0, width), sum.narrow(1, width, width)];
      return gateFirst ? activated(first, kind).mul(second) : activated(second, kind).mul(first);
    },
  };
}

/** How queries meet keys; see native/kernels/attention. */
interface Form {
  readonly keyHeads?: number;
  readonly scale?: number;
  readonly causal?: boolean;
  readonly window?: number;
  readonly softCap?: number;
  /** How many tokens at the beginning of each sequence are attended to. */
  readonly keys?: readonly number[];
}

/** Added to the score of a key that is not seen. */
const FAR = -1e9;

function attention(
  offsets: readonly number[],
  heads: number,
  size: number,
  distanceBias: boolean,
  { keyHeads = heads, scale, causal = false, window, softCap = 0, keys }: Form = {},
): Case {
  const tokens = offsets.at(-1)!;
  const lengths = offsets.slice(1).map((end, s) => end - offsets[s]!);
  const longest = Math.max(...lengths);
  return {
    name: `attention of ${heads} heads of ${size} over ${lengths.join(', ')} tokens${distanceBias ? ' with a distance bias' : ''}${keyHeads < heads ? `, ${keyHeads} heads of keys` : ''}${causal ? ', causal' : ''}${window === undefined ? '' : `, ${window} far`}${softCap > 0 ? ', capped' : ''}${keys === undefined ? '' : `, to ${keys.join(', ')} of them`}`,
    shapes: {
      qkv: [tokens, (heads + 2 * keyHeads) * size],
      ...(distanceBias && { distanceBias: [heads, 2 * longest - 1] }),
    },
    drops: true,
    // Flash attention takes forms that the kernels of this package do not.
    ownMask:
      device !== 'cpu' &&
      keys === undefined &&
      !distanceBias &&
      softCap === 0 &&
      size % 8 === 0 &&
      (causal || keyHeads < heads || window !== undefined),
    run: ({ qkv, distanceBias: bias }, { p, seed, site }) =>
      call(
        'gradcache::attention',
        ...[qkv, offsets, heads, bias ?? null, p, seed, site],
        ...[keyHeads, scale ?? null, causal, window ?? null, softCap, keys ?? null],
      ),
    compose({ qkv, distanceBias: bias }, dropout) {
      const ones: Tensor = call('aten::ones', [tokens * heads, longest], { dtype: qkv!.dtype, device });
      const mask = drop(ones, dropout).reshape([tokens, heads, longest]);
      const sequences = lengths.map((length, s) => {
        const rows = qkv!.narrow(0, offsets[s]!, length);
        const part = (first: number, count: number): Tensor => {
          const own = rows.narrow(1, first * size, count * size).reshape([length, count, size]);
          const all: Tensor = call('aten::repeat_interleave.self_int', own, heads / count, 1);
          return all.transpose(0, 1);
        };
        const [q, k, v] = [part(0, heads), part(heads, keyHeads), part(heads + keyHeads, keyHeads)];
        let scores = q.matmul(k.transpose(1, 2)).mul(scale ?? 1 / Math.sqrt(size));
        if (softCap > 0) scores = call<Tensor>('aten::tanh', scores.div(softCap)).mul(softCap);
        if (causal || window !== undefined || keys !== undefined) {
          const hidden = Array.from({ length: length * length }, (_, pair) => {
            const ahead = (pair % length) - Math.floor(pair / length);
            const unattended = pair % length >= (keys?.[s] ?? length);
            return unattended || (causal && ahead > 0) || Math.abs(ahead) > (window ?? length) ? FAR : 0;
          });
          const mask = Tensor.from(hidden, { dtype: 'float64', device }).to({ dtype: scores.dtype });
          scores = scores.add(mask.reshape([1, length, length]));
        }
        if (bias !== undefined) {
          const places = Array.from(
            { length: length * length },
            (_, pair) => (pair % length) - Math.floor(pair / length) + longest - 1,
          );
          scores = scores.add(bias.indexSelect(1, indices(places)).reshape([heads, length, length]));
        }
        const own = mask.narrow(0, offsets[s]!, length).narrow(2, 0, length).transpose(0, 1);
        // A query that sees no key is far from all of them, which is no reason to take their mean.
        const seen = call<Tensor>('aten::gt.Scalar', scores, FAR / 2).to({ dtype: scores.dtype });
        return scores
          .softmax(2)
          .mul(seen)
          .mul(own)
          .matmul(v)
          .transpose(0, 1)
          .reshape([length, heads * size]);
      });
      return call('aten::cat', sequences, 0);
    },
  };
}

const POOLINGS = ['mean', 'cls', 'max', 'last', 'mean-sqrt-length', 'weighted-mean'] as const;
type Pooling = (typeof POOLINGS)[number];

function pool(offsets: readonly number[], width: number, pooling: Pooling, normalize: boolean): Case {
  const lengths = offsets.slice(1).map((end, s) => end - offsets[s]!);
  return {
    name: `${pooling} of ${lengths.join(', ')} tokens of ${width} features${normalize ? ', normalised' : ''}`,
    shapes: { x: [offsets.at(-1)!, width] },
    drops: false,
    run: ({ x }) => call('gradcache::pool', x, offsets, pooling, normalize),
    compose({ x }) {
      const rows = lengths.map((length, s) => {
        const tokens = x!.narrow(0, offsets[s]!, length);
        if (pooling === 'cls') return tokens.narrow(0, 0, 1);
        if (pooling === 'last') return tokens.narrow(0, length - 1, 1);
        if (pooling === 'max') return call<Tensor>('aten::amax', tokens, [0], true);
        if (pooling === 'mean') return call<Tensor>('aten::mean.dim', tokens, [0], true);
        const places = Array.from({ length }, (_, place) => (pooling === 'weighted-mean' ? place + 1 : 1));
        const total = places.reduce((sum, place) => sum + place, 0);
        const weights = Tensor.from(places, { dtype: x!.dtype, device: x!.device }).reshape([-1, 1]);
        const sum: Tensor = call('aten::sum.dim_IntList', tokens.mul(weights), [0], true);
        return sum.div(pooling === 'weighted-mean' ? total : Math.sqrt(total));
      });
      const pooled: Tensor = call('aten::cat', rows, 0);
      if (!normalize) return pooled;
      const norms: Tensor = call('aten::linalg_vector_norm', pooled, 2, [1], true);
      return pooled.div(call<Tensor>('aten::clamp_min', norms, 1e-12));
    },
  };
}

const pools = (offsets: readonly number[], width: number): readonly Case[] =>
  POOLINGS.flatMap((pooling) => [false, true].map((normalize) => pool(offsets, width, pooling, normalize)));

function embed(width: number, withType: boolean): Case {
  const ids = [4, 0, 10, 4, 4, 7, 10, 2, 4];
  const places = [0, 1, 2, 3, 0, 1, 0, 1, 2];
  return {
    name: `embed into ${width} features${withType ? ' with a type' : ''}`,
    shapes: {
      words: [11, width],
      positions: [5, width],
      ...(withType && { type: [width] }),
      scale: [width],
      shift: [width],
    },
    drops: true,
    run: ({ words, positions, type, scale, shift }, { p, seed, site }) =>
      call(
        'gradcache::embed',
        ...[words, positions, type ?? null, indices(ids), indices(places)],
        ...[scale, shift, 1e-5, p, seed, site],
      ),
    compose({ words, positions, type, ...weights }, dropout) {
      const sum = words!.indexSelect(0, indices(ids)).add(positions!.indexSelect(0, indices(places)));
      return drop(layerNorm(type === undefined ? sum : sum.add(type), weights, 1e-5), dropout);
    },
  };
}

export function recurrence(settings: Partial<Recurrence>): Case {
  const r: Recurrence = { ...plain, ...settings };
  return {
    name: nameOf(r),
    shapes: shapesOf(r),
    drops: true,
    run: (inputs, dropout) => together(recur(r, inputs, dropout)),
    compose: (inputs, dropout) => together(stepByStep(r, inputs, dropout)),
  };
}

const qrnn = { tanh: true, skip: false, weights: false, bias: false } as const;

const dropoutCase = (rows: number, width: number): Case => ({
  name: `dropout of [${rows}, ${width}]`,
  shapes: { x: [rows, width] },
  drops: true,
  run: ({ x }, dropout) => drop(x!, dropout),
  compose({ x }, dropout) {
    const ones: Tensor = call('aten::ones', x!.shape, { dtype: x!.dtype, device });
    return x!.mul(drop(ones, dropout));
  },
});

/** Every operator in sizes that fill no vector. */
export const oddCases: readonly Case[] = [
  dropoutCase(5, 7),
  norm(5, 7, ['bias', 'residual']),
  norm(3, 9, ['residual']),
  norm(3, 5, ['bias']),
  norm(4, 11, []),
  activation(5, 7, 'gelu'),
  activation(5, 7, 'gelu_tanh'),
  activation(5, 7, 'relu'),
  activation(5, 7, 'silu'),
  activation(5, 7, 'gelu', false),
  rootNormCase(5, 7, 0),
  rootNormCase(3, 9, 1),
  rootNormCase(5, 9, 1, true),
  shiftlessNorm(4, 11),
  gate(5, 7, 'gelu', true, true),
  gate(5, 7, 'silu', false, false),
  gate(3, 1, 'gelu_tanh', true, false),
  gate(3, 5, 'relu', false, true),
  attention([0, 3, 4, 9], 4, 5, false, { keyHeads: 2, causal: true }),
  attention([0, 3, 4, 11], 2, 3, false, { window: 2, scale: 0.7 }),
  attention([0, 3, 4, 11], 3, 3, false, { window: 1, causal: true, keyHeads: 1, softCap: 1.5 }),
  attention([0, 3, 4, 9], 3, 5, false),
  attention([0, 3, 4, 9], 3, 5, true),
  attention([0, 1, 3], 1, 1, false),
  attention([0, 3, 4, 9], 3, 5, false, { keys: [2, 1, 3] }),
  attention([0, 3, 4, 9], 3, 5, true, { keys: [1, 1, 5] }),
  attention([0, 6, 7, 16], 4, 3, false, { keys: [2, 1, 4], window: 2, keyHeads: 2, softCap: 1.5 }),
  attention([0, 3, 4, 9], 2, 3, false, { keys: [3, 1, 2], causal: true }),
  embed(7, true),
  embed(5, false),
  ...pools([0, 3, 4, 9], 7),
  pool([0, 1], 1, 'mean', false),
  pool([0, 1, 2, 3], 5, 'max', true),
  recurrence({}),
  recurrence({ direction: 'both', width: 3, skipScale: 1.3, maskPerToken: true }),
  recurrence({ projections: 4, skip: false, direction: 'reverse', state: false }),
  recurrence({ skip: false, bias: false, offsets: [0, 1, 2] }),
  recurrence({ ...qrnn, direction: 'both' }),
  recurrence({ ...qrnn, projections: 2, width: 1, maskPerToken: true }),
];

/** Sizes that CUDA's kernels take, and enough rows for several threads. */
export const evenCases: readonly Case[] = [
  dropoutCase(70, 64),
  norm(150, 64, ['bias', 'residual']),
  norm(150, 64, []),
  activation(150, 64, 'gelu'),
  activation(150, 64, 'gelu_tanh'),
  activation(150, 64, 'relu'),
  activation(150, 64, 'silu'),
  activation(150, 64, 'gelu', false),
  rootNormCase(150, 64, 1),
  shiftlessNorm(150, 64),
  gate(150, 64, 'gelu', true, true),
  gate(150, 64, 'silu', false, false),
  attention([0, 30, 31, 70, 170], 4, 32, false, { keyHeads: 2, causal: true }),
  attention([0, 30, 31, 70, 170], 2, 64, false, { window: 20 }),
  attention([0, 30, 31, 70, 170], 2, 128, false, { window: 33, causal: true, keyHeads: 1 }),
  attention([0, 30, 31, 70, 165], 3, 256, false, { keyHeads: 1 }), // more than one block of rows
  attention([0, 30, 31, 331], 2, 64, false, { window: 20 }), // longer than a query sees
  attention([0, 30, 31, 70, 150], 2, 32, false),
  attention([0, 30, 31, 70, 150], 2, 32, true),
  attention([0, 30, 31, 70, 170], 2, 64, false, { keys: [9, 1, 39, 70] }),
  attention([0, 30, 31, 70, 170], 2, 32, true, { keys: [9, 1, 39, 70] }),
  attention([0, 30, 31, 70, 170], 2, 64, false, { keys: [30, 1, 5, 66], window: 20, keyHeads: 1 }),
  embed(64, true),
  ...pools([0, 30, 31, 70, 150], 64),
  recurrence({ offsets: [0, 30, 31, 70], width: 136, skipScale: 1.3 }),
  recurrence({
    offsets: [0, 1, 40],
    width: 72,
    direction: 'both',
    projections: 4,
    skip: false,
    maskPerToken: true,
  }),
  recurrence({ ...qrnn, offsets: [0, 20, 40], width: 64, direction: 'reverse' }),
];

/** Normally distributed numbers, the same for the same seed. */
export function normals(count: number, seed: number): Float64Array {
  let state = seed >>> 0;
  const uniform = (): number => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return ((z ^ (z >>> 16)) >>> 0) / 2 ** 32 + 2 ** -33;
  };
  return Float64Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

/** Float64 values of a case's inputs, by name. */
export function valuesFor({ shapes }: Case, seed = 1): Record<string, Float64Array> {
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape], k) => [name, normals(sizeOf(shape), seed + 1000 * k)]),
  );
}

/** Leaves with those values, rounded through `through` first. */
export function leaves(
  { shapes }: Case,
  values: Readonly<Record<string, Float64Array>>,
  dtype: DType,
  through: DType = dtype,
): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      const leaf = Tensor.from(values[name]!, { shape, device }).to({ dtype: through }).to({ dtype });
      leaf.requiresGrad = true;
      return [name, leaf];
    }),
  );
}

/** What the output's gradient is set to. */
export const cotangent = (size: number): Float64Array => normals(size, 77);

/** Output and gradients of every input, by name. */
export async function outputAndGradients(
  inputs: Inputs,
  compute: (inputs: Inputs) => Tensor,
): Promise<Map<string, Numbers>> {
  const output = compute(inputs);
  const seed = Tensor.from(cotangent(output.size), { shape: output.shape, device }).to({
    dtype: output.dtype,
  });
  await backward([output], [seed]);
  const all = new Map<string, Numbers>([['output', (await output.values()) as Float64Array]]);
  for (const [name, { grad }] of Object.entries(inputs))
    all.set(name, (await grad!.values()) as Float64Array);
  return all;
}

/** d(sum of output times cotangent)/d(input `name`) by central differences, in float64. */
export function centralDifferences(
  operator: Case,
  values: Readonly<Record<string, Float64Array>>,
  name: string,
  dropout: Dropout,
): Float64Array {
  const step = 1e-5;
  const target = (changed: Float64Array): number =>
    tidy(() =>
      noGrad(() => {
        const inputs = leaves(operator, { ...values, [name]: changed }, 'float64');
        const output = operator.run(inputs, dropout).valuesSync() as Float64Array;
        const weights = cotangent(output.length);
        return output.reduce((sum, value, k) => sum + value * weights[k]!, 0);
      }),
    );
  return values[name]!.map((value, k) => {
    const above = values[name]!.with(k, value + step);
    const below = values[name]!.with(k, value - step);
    return (target(above) - target(below)) / (2 * step);
  });
}
