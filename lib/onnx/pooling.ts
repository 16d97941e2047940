import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import type { Builder } from './builder.js';
import type { Value } from './graph.js';

/**
 * One row for each text, [batch, poolings * width], of token rows in float32: names of native poolings with + between them.
 *
 * @throws GradCacheError `INPUT` for a name that is unknown
 */
export function pooled(builder: Builder, rows: Value, names: string): Value {
  const parts = names.split('+').map((name) => {
    const pool = Object.hasOwn(POOLINGS, name) ? POOLINGS[name] : undefined;
    if (pool === undefined) throw new GradCacheError('INPUT', `pooling ${show(name)} is unknown.`);
    return pool(builder, rows);
  });
  return parts.length === 1 ? parts[0]! : builder.op('Concat', parts, { axis: -1 });
}

type Pool = (builder: Builder, rows: Value) => Value;

const POOLINGS: Readonly<Record<string, Pool>> = {
  mean: (builder, rows) => average(builder, rows, tokens(builder)),
  'mean-sqrt-length': (builder, rows) => {
    const counts = tokens(builder);
    const root = builder.op('Sqrt', [atLeastOne(builder, sum(builder, counts))]);
    return builder.op('Div', [weighted(builder, rows, counts), root]);
  },
  'weighted-mean': (builder, rows) => {
    const number = builder.op('Add', [builder.places, builder.graph.integers(1)]);
    return average(builder, rows, builder.op('Mul', [builder.cast(number, 'float32'), tokens(builder)]));
  },
  cls: (builder, rows) => weighted(builder, rows, at(builder, builder.graph.integers(0))),
  last: (builder, rows) => {
    const last = builder.op('ReduceMax', [builder.places, builder.graph.integers([1])]);
    return weighted(builder, rows, at(builder, last));
  },
  max: (builder, rows) => {
    const isToken = builder.op('Unsqueeze', [builder.isToken, builder.graph.integers([2])]);
    const seen = builder.op('Where', [isToken, rows, builder.graph.number(LEAST)]);
    return builder.op('ReduceMax', [seen, builder.graph.integers([1])], { keepdims: 0 });
  },
};

/** Below every value of a token. */
const LEAST = -3.4e38;

/** float32 [batch, sequence]: 1 for tokens, 0 for padding. */
const tokens = (builder: Builder): Value =>
  builder.once('tokens', () => builder.cast(builder.isToken, 'float32'));

/** The same with 1 for the token at a place alone. */
function at(builder: Builder, place: Value): Value {
  const isThere = builder.op('Equal', [builder.places, place]);
  return builder.cast(builder.op('And', [isThere, builder.isToken]), 'float32');
}

const sum = (builder: Builder, weights: Value): Value =>
  builder.op('ReduceSum', [weights, builder.graph.integers([1])]);

const atLeastOne = (builder: Builder, value: Value): Value =>
  builder.op('Max', [value, builder.graph.number(1)]);

/** The sum of rows by their weights [batch, sequence]. */
function weighted(builder: Builder, rows: Value, weights: Value): Value {
  const each = builder.op('Unsqueeze', [weights, builder.graph.integers([2])]);
  const product = builder.op('Mul', [rows, each]);
  return builder.op('ReduceSum', [product, builder.graph.integers([1])], { keepdims: 0 });
}

const average = (builder: Builder, rows: Value, weights: Value): Value =>
  builder.op('Div', [weighted(builder, rows, weights), atLeastOne(builder, sum(builder, weights))]);
