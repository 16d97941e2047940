import type { Tensor } from '../../lib/index.js';
import { call } from '../../lib/index.js';
import { device } from '../exactness/support.js';

/** A call of `gradcache::sru`: its settings, and which of the optional inputs it has. */
export interface Recurrence {
  readonly offsets: readonly number[];
  /** Columns of one direction. */
  readonly width: number;
  readonly projections: 2 | 3 | 4;
  readonly direction: 'forward' | 'reverse' | 'both';
  readonly tanh: boolean;
  readonly skip: boolean;
  readonly skipScale: number;
  readonly weights: boolean;
  readonly bias: boolean;
  readonly state: boolean;
  readonly maskPerToken: boolean;
}

/** What SRU has. */
export const plain: Recurrence = {
  offsets: [0, 3, 4, 9],
  width: 5,
  projections: 3,
  direction: 'forward',
  tanh: false,
  skip: true,
  skipScale: 1,
  weights: true,
  bias: true,
  state: true,
  maskPerToken: false,
};

type Inputs = Readonly<Record<string, Tensor>>;
type Dropout = Readonly<{ p: number; seed: number; site: number }>;
type Outputs = readonly [h: Tensor, last: Tensor];

const waysOf = ({ direction }: Recurrence): number => (direction === 'both' ? 2 : 1);
const gatesOf = ({ projections }: Recurrence): number => Math.min(projections - 1, 2);

/** Shapes of the inputs that it has. */
export function shapesOf(r: Recurrence): Record<string, readonly number[]> {
  const [tokens, width] = [r.offsets.at(-1)!, r.width * waysOf(r)];
  return {
    u: [tokens, r.projections * width],
    ...(r.skip && { skip: [tokens, width] }),
    ...(r.weights && { weights: [gatesOf(r), width] }),
    ...(r.bias && { bias: [gatesOf(r), width] }),
    ...(r.state && { state: [r.offsets.length - 1, width] }),
  };
}

/** A name that tells it from others. */
export function nameOf(r: Recurrence): string {
  const lengths = r.offsets.slice(1).map((end, s) => end - r.offsets[s]!);
  const parts = [
    `${r.projections} projections, ${r.direction}, width ${r.width}, over ${lengths.join(', ')} tokens`,
    r.tanh && 'tanh',
    r.skip && 'skip',
    r.skipScale !== 1 && `skip times ${r.skipScale}`,
    r.weights && 'cell weights',
    r.bias && 'bias',
    r.state && 'state',
    r.maskPerToken && 'a mask for each token',
  ];
  return `recurrence of ${parts.filter(Boolean).join(', ')}`;
}

/** The operator. */
export function recur(
  r: Recurrence,
  { u, skip, weights, bias, state }: Inputs,
  dropout: Dropout,
  padding: Tensor | null = null,
): Outputs {
  return call(
    'gradcache::sru',
    ...[u, r.offsets, skip ?? null, weights ?? null, bias ?? null, state ?? null, padding],
    {
      projections: r.projections,
      direction: r.direction,
      tanh_candidate: r.tanh,
      skip_scale: r.skipScale,
      mask_per_token: r.maskPerToken && dropout.p > 0,
      ...dropout,
    },
  );
}

/** The same of ATen's operators: token after token, sequence after sequence, direction after direction. */
export function stepByStep(r: Recurrence, inputs: Inputs, dropout: Dropout): Outputs {
  const { u } = inputs as { u: Tensor };
  const { width, projections } = r;
  const sequences = r.offsets.length - 1;
  const all = width * waysOf(r);
  const ones: Tensor = call('aten::ones', [r.maskPerToken ? u.shape[0]! : sequences, all], {
    dtype: u.dtype,
    device,
  });
  const { p, seed, site } = dropout;
  const mask: Tensor = call('gradcache::dropout', ones, p, seed, site);
  const hs: Tensor[] = [];
  const lasts: Tensor[] = [];
  for (let way = 0; way < waysOf(r); way++) {
    const columns = (name: string, row: number): Tensor | undefined =>
      inputs[name]?.narrow(0, row, 1).narrow(1, way * width, width);
    const zeros: Tensor = call('aten::zeros', [1, width], { dtype: u.dtype, device });
    const rows: Tensor[] = [];
    const states: Tensor[] = [];
    for (let s = 0; s < sequences; s++) {
      let c = columns('state', s)?.to({ dtype: u.dtype }) ?? zeros;
      const tokens = Array.from({ length: r.offsets[s + 1]! - r.offsets[s]! }, (_, k) => r.offsets[s]! + k);
      const backwards = r.direction === 'reverse' || way === 1;
      for (const token of backwards ? tokens.reverse() : tokens) {
        const before = c;
        const block = (k: number): Tensor =>
          u.narrow(0, token, 1).narrow(1, (way * projections + k) * width, width);
        const gate = (k: number): Tensor => {
          let sum = block(k + 1);
          if (r.weights) sum = sum.add(columns('weights', k)!.mul(before));
          if (r.bias) sum = sum.add(columns('bias', k)!);
          return sum.sigmoid();
        };
        const candidate = r.tanh ? block(0).tanh() : block(0);
        const f = gate(0);
        c = f.mul(before).add(f.neg().add(1).mul(candidate));
        const kept = mask.narrow(0, r.maskPerToken ? token : s, 1).narrow(1, way * width, width);
        const skip = projections === 4 ? block(3) : columns('skip', token);
        const x = (skip ?? zeros).mul(r.skipScale);
        rows[token] = projections === 2 ? kept.mul(c) : kept.mul(gate(1)).mul(c.sub(x)).add(x);
      }
      states.push(c);
    }
    hs.push(call('aten::cat', rows, 0));
    lasts.push(call('aten::cat', states, 0));
  }
  return [call('aten::cat', hs, 1), call('aten::cat', lasts, 1)];
}

/** Both outputs as one tensor, in the type of h. */
export const together = ([h, last]: Outputs): Tensor =>
  call('aten::cat', [h, last.to({ dtype: h.dtype })], 0);
