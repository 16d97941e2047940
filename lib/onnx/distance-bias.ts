import { keyDistances } from './attention.js';
import type { Builder } from './builder.js';
import type { Value } from './graph.js';

/** A learned number for each head and bucket of distance, as in T5 and MPNet. */
export interface DistanceBias {
  /** The table [buckets, heads], without `.weight`. */
  readonly name: string;
  readonly buckets: number;
  /** From this distance on, all share the last bucket. */
  readonly farthest: number;
  readonly heads: number;
}

/** What is added to the scores of all layers, [1, heads, sequence, sequence]. */
export function distanceBias(builder: Builder, { name, buckets, farthest, heads }: DistanceBias): Value {
  const { graph } = builder;
  // Behind the farthest distance nothing changes, so that the table of buckets ends there.
  const numbers = Array.from({ length: 2 * farthest + 1 }, (_, place) =>
    bucketOf(place - farthest, buckets, farthest),
  );
  const near = graph.op('Clip', [keyDistances(builder), graph.integers(-farthest), graph.integers(farthest)]);
  const places = graph.op('Add', [near, graph.integers(farthest)]);
  const bucket = graph.op('Gather', [graph.integers(numbers), places]);
  const values = graph.op('Gather', [builder.parameter(`${name}.weight`, [buckets, heads]), bucket]);
  const byHead = graph.op('Transpose', [values], { perm: [2, 0, 1] });
  return graph.op('Unsqueeze', [byHead, graph.integers([0])]);
}

/** As native/blocks/distance_bias finds it, in float32: the borders of buckets depend on it. */
function bucketOf(ahead: number, buckets: number, farthest: number): number {
  const half = buckets / 2;
  const exact = Math.floor(half / 2);
  const first = ahead > 0 ? half : 0;
  const distance = Math.abs(ahead);
  if (distance < exact) return first + distance;
  const ratio = Math.fround(
    Math.fround(Math.log(Math.fround(distance / exact))) / Math.fround(Math.log(farthest / exact)),
  );
  const further = exact + Math.trunc(Math.fround(ratio * (half - exact)));
  return first + Math.min(further, half - 1);
}
