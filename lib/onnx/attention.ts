import type { Builder, LinearNames } from './builder.js';
import type { Value } from './graph.js';
import { norm } from './norm.js';
import { turned, type Rotation } from './rotary.js';

/** What the heads of a layer attend to, and how. */
export interface AttentionForm {
  readonly heads: number;
  /** Heads of keys and values; each is for as many heads of queries. */
  readonly keyHeads: number;
  /** The features of a head. */
  readonly size: number;
  /** What scores are multiplied by. */
  readonly scale: number;
  /** Whether a token sees those before it alone. */
  readonly causal?: boolean;
  /** How far a token sees; -1: the whole text. */
  readonly window?: number;
  /** Scores are squeezed to between this and its negative; 0: they are not. */
  readonly softCap?: number;
}

/** Attention of as many heads of keys as of queries. */
export const plainForm = (heads: number, size: number): AttentionForm => ({
  heads,
  keyHeads: heads,
  size,
  scale: size ** -0.5,
});

/** Names without `.weight` and `.bias`. */
export interface AttentionNames {
  /** Queries, keys and values: three matrices, or one of all their rows. */
  readonly projections: readonly string[];
  readonly output: string;
  readonly queryNorm?: string;
  readonly keyNorm?: string;
}

export interface AttentionOptions {
  readonly hidden: number;
  readonly form: AttentionForm;
  readonly bias: boolean;
  readonly outputBias: boolean;
  /** Of the norms of heads, where names have them. */
  readonly normEpsilon?: number;
  readonly normOffset?: number;
  readonly rotary?: Rotation | undefined;
  /** Added to the scores: [1, heads, sequence, sequence], or what is made of heads. */
  readonly distanceBias?: Value | ScoresOf | undefined;
}

/** Scores [batch, heads, sequence, sequence] of the heads of queries and keys. */
export type ScoresOf = (queries: Value, keys: Value) => Value;

/** Self-attention of x [batch, sequence, hidden], with its output layer. */
export function selfAttention(
  builder: Builder,
  x: Value,
  names: AttentionNames,
  options: AttentionOptions,
): Value {
  const { form, hidden, outputBias, distanceBias } = options;
  const [queries, keys, values] = heads(builder, x, names, options);
  const bias = typeof distanceBias === 'function' ? distanceBias(queries, keys) : distanceBias;
  const attended = attend(builder, { queries, keys, values }, form, bias);
  return builder.linear(attended, { name: names.output, bias: outputBias }, hidden, form.heads * form.size);
}

function heads(
  builder: Builder,
  x: Value,
  { projections, queryNorm, keyNorm }: AttentionNames,
  options: AttentionOptions,
): [Value, Value, Value] {
  const { form, rotary } = options;
  const rows = projected(builder, x, projections, options);
  const counts = [form.heads, form.keyHeads, form.keyHeads];
  const [queries = '', keys = '', values = ''] = rows.map((row, place) =>
    byHead(builder, row, counts[place]!, form.size),
  );
  const ready = (part: Value, normName: string | undefined): Value => {
    const style = {
      kind: 'root',
      epsilon: options.normEpsilon ?? 0,
      offset: options.normOffset ?? 0,
    } as const;
    const normed = normName === undefined ? part : norm(builder, part, normName, form.size, style);
    return rotary === undefined ? normed : turned(builder, normed, form.size, rotary);
  };
  return [ready(queries, queryNorm), ready(keys, keyNorm), values];
}

/** Queries, keys and values, each [batch, sequence, its heads * size]. */
function projected(
  builder: Builder,
  x: Value,
  names: readonly string[],
  { form, hidden, bias }: AttentionOptions,
): Value[] {
  const widths = [form.heads, form.keyHeads, form.keyHeads].map((count) => count * form.size);
  const linear = (name: string, width: number): Value => {
    const named: LinearNames = { name, bias };
    return builder.linear(x, named, width, hidden);
  };
  if (names.length > 1) return names.map((name, place) => linear(name, widths[place]!));
  const all = widths.reduce((sum, width) => sum + width, 0);
  return builder.graph.ops('Split', [linear(names[0]!, all), builder.graph.integers(widths)], 3, {
    axis: -1,
  });
}

/** [batch, sequence, heads * size] as [batch, heads, sequence, size]. */
export function byHead(builder: Builder, rows: Value, count: number, size: number): Value {
  const { graph } = builder;
  const split = graph.op('Reshape', [rows, graph.integers([0, 0, count, size])]);
  return graph.op('Transpose', [split], { perm: [0, 2, 1, 3] });
}

/** What heads [batch, heads, sequence, size] attend to, side by side: [batch, sequence, heads * size]. */
export function attend(
  builder: Builder,
  { queries, keys, values }: Readonly<Record<'queries' | 'keys' | 'values', Value>>,
  form: AttentionForm,
  distanceBias?: Value,
): Value {
  const { graph } = builder;
  const { heads, size, scale, softCap = 0 } = form;
  const scaled = scale === 1 ? queries : graph.op('Mul', [queries, builder.number(scale)]);
  const columns = graph.op('Transpose', [forEach(builder, keys, form)], { perm: [0, 1, 3, 2] });
  let scores = graph.op('MatMul', [scaled, columns]);
  if (softCap > 0) {
    const cap = builder.number(softCap);
    scores = graph.op('Mul', [graph.op('Tanh', [graph.op('Div', [scores, cap])]), cap]);
  }
  if (distanceBias !== undefined) scores = graph.op('Add', [scores, distanceBias]);
  // Where nothing is seen, as by padding, all scores are alike: no NaN reaches the values of others.
  const seen = graph.op('Where', [seenKeys(builder, form), scores, builder.number(LEAST_SCORE)]);
  const weights = graph.op('Softmax', [seen], { axis: -1 });
  const attended = graph.op('MatMul', [weights, forEach(builder, values, form)]);
  const rows = graph.op('Transpose', [attended], { perm: [0, 2, 1, 3] });
  return graph.op('Reshape', [rows, graph.integers([0, 0, heads * size])]);
}

/** The score of what is not seen: the least of half precision, which also is far below any in float32. */
const LEAST_SCORE = -65504;

/** Heads of keys or values, repeated so that each head of queries has one. */
function forEach(builder: Builder, part: Value, { heads, keyHeads, size }: AttentionForm): Value {
  if (heads === keyHeads) return part;
  const { graph } = builder;
  const apart = graph.op('Unsqueeze', [part, graph.integers([2])]);
  const repeated = graph.op('Expand', [apart, graph.integers([1, 1, heads / keyHeads, 1, 1])]);
  return graph.op('Reshape', [repeated, graph.integers([0, heads, -1, size])]);
}

/** bool [batch, 1, 1 or sequence, sequence]: the keys that a query sees. Layers of one form share it. */
function seenKeys(builder: Builder, { causal = false, window = -1 }: AttentionForm): Value {
  return builder.once(`seen ${causal} ${window}`, () => {
    const { graph } = builder;
    const tokens = graph.op('Unsqueeze', [builder.isToken, graph.integers([1, 2])]);
    if (!causal && window < 0) return tokens;
    const distances = keyDistances(builder);
    const limits: Value[] = [];
    if (causal) limits.push(graph.op('LessOrEqual', [distances, graph.integers(0)]));
    if (window >= 0)
      limits.push(graph.op('LessOrEqual', [graph.op('Abs', [distances]), graph.integers(window)]));
    return limits.reduce((seen, limit) => graph.op('And', [seen, limit]), tokens);
  });
}

/** int64 [sequence, sequence]: the place of each key less that of each query. Padding at either end changes none. */
export function keyDistances(builder: Builder): Value {
  return builder.once('distances', () => {
    const { graph } = builder;
    const length = graph.op('Gather', [graph.op('Shape', [builder.ids]), graph.integers(1)]);
    const places = graph.op('Range', [graph.integers(0), length, graph.integers(1)]);
    const queries = graph.op('Unsqueeze', [places, graph.integers([1])]);
    return graph.op('Sub', [graph.op('Unsqueeze', [places, graph.integers([0])]), queries]);
  });
}
