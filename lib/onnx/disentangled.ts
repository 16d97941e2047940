import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { tidy } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import { byHead, keyDistances, type AttentionForm, type ScoresOf } from './attention.js';
import type { Builder } from './builder.js';
import type { Value } from './graph.js';
import { norm, type NormStyle } from './norm.js';

/** The vectors of distances, which layers share (native/blocks/relative_vectors). */
export interface RelativeVectors {
  /** The table [2 * span, width], without `.weight`. */
  readonly name: string;
  /** The norm of its rows; absent: there is none. */
  readonly norm?: { readonly name: string; readonly style: NormStyle } | undefined;
  readonly span: number;
  /** From this distance on, all share the last bucket; 0: distances have no buckets. */
  readonly farthest: number;
  readonly width: number;
  /** The most tokens of a text. */
  readonly most: number;
}

/** Products that vectors of distances go through, without `.weight` and `.bias`; absent: there are no such scores. */
export interface DistanceProducts {
  readonly keys?: string | undefined;
  readonly queries?: string | undefined;
}

/** What attention adds to the scores of content: a query with the distance, and the distance with a key. */
export function disentangled(
  builder: Builder,
  vectors: RelativeVectors,
  form: AttentionForm,
  { keys: keyProduct, queries: queryProduct }: DistanceProducts,
): ScoresOf {
  const { graph } = builder;
  const rows = vectorRows(builder, vectors);
  const places = rowsOfDistances(builder, vectors);
  /** [batch, heads, sequence, sequence]: each token with the distance to each other one. */
  const byDistance = (tokens: Value, product: string, numbers: Value): Value => {
    const { heads, size } = form;
    const ofVectors = builder.linear(rows, { name: product, bias: true }, heads * size, vectors.width);
    const apart = byHead(builder, graph.op('Unsqueeze', [ofVectors, graph.integers([0])]), heads, size);
    const scores = graph.op('MatMul', [tokens, graph.op('Transpose', [apart], { perm: [0, 1, 3, 2] })]);
    const shape = graph.op('Slice', [
      graph.op('Shape', [scores]),
      ...[[0], [3]].map((each) => graph.integers(each)),
    ]);
    const all = graph.op('Concat', [shape, graph.op('Shape', [numbers], { start: 1 })], { axis: 0 });
    return graph.op('GatherElements', [scores, graph.op('Expand', [numbers, all])], { axis: 3 });
  };
  return (queries, keys) => {
    const parts: Value[] = [];
    if (keyProduct !== undefined) parts.push(byDistance(queries, keyProduct, places));
    if (queryProduct !== undefined) {
      const turned = graph.op('Transpose', [places], { perm: [1, 0] });
      const byKey = byDistance(keys, queryProduct, turned);
      parts.push(graph.op('Transpose', [byKey], { perm: [0, 1, 3, 2] }));
    }
    const sum = parts.reduce((one, other) => graph.op('Add', [one, other]));
    return graph.op('Mul', [sum, builder.number(form.scale)]);
  };
}

function vectorRows(builder: Builder, { name, norm: behind, span, width }: RelativeVectors): Value {
  return builder.once(name, () => {
    const table = builder.parameter(`${name}.weight`, [2 * span, width]);
    return behind === undefined ? table : norm(builder, table, behind.name, width, behind.style);
  });
}

/** int64 [sequence, sequence]: the table's row for the place of each query less that of each key. */
function rowsOfDistances(builder: Builder, { span, farthest, most }: RelativeVectors): Value {
  return builder.once('rows of distances', () => {
    const { graph } = builder;
    const ahead = graph.op('Neg', [keyDistances(builder)]);
    const place = graph.op('Add', [ahead, graph.integers(most - 1)]);
    return graph.op('Gather', [graph.integers(bucketsOf(most, span, farthest)), place]);
  });
}

/** As native/blocks/relative_vectors finds them. Logarithms are libtorch's in float32: the borders of buckets depend on it. */
function bucketsOf(most: number, span: number, farthest: number): number[] {
  return tidy(() =>
    noGrad(() => {
      const distance = call('aten::arange.start', 1 - most, most, { dtype: 'int64' });
      const rows = call('aten::clamp', bucketed(distance, span, farthest).add(span), 0, 2 * span - 1);
      return Array.from(rows.valuesSync(), Number);
    }),
  );
}

function bucketed(distance: Tensor, span: number, farthest: number): Tensor {
  if (farthest === 0) return distance;
  const middle = Math.floor(span / 2);
  const size = call('aten::abs', distance);
  const near = call('aten::lt.Scalar', size, middle);
  const far = call('aten::where.self', near, Tensor.from([middle - 1], { dtype: 'int64' }), size);
  const spread = Tensor.from((farthest - 1) / middle, { dtype: 'float32' }).log();
  const part = far
    .div(middle)
    .log()
    .div(spread)
    .mul(middle - 1);
  const logarithms = call('aten::ceil', part).add(middle);
  const signed = logarithms.mul(call('aten::sign', distance));
  const isExact = call('aten::le.Scalar', far, middle);
  return call('aten::where.self', isExact, distance.to({ dtype: 'float32' }), signed).to({ dtype: 'int64' });
}
