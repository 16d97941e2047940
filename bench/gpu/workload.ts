import { writeFileSync } from 'node:fs';
import type { TokenBatch } from '../../lib/index.js';

/**
 * `uniform`: every anchor and every positive as long as its tower's limit. `natural`: lognormal lengths around a median,
 * as of queries and passages. A number in the name is the limit of longer passages.
 */
export type Kind = 'uniform' | 'natural' | 'uniform-512' | 'natural-512' | 'natural-8192';

interface Tower {
  readonly median: number;
  readonly longest: number;
  /** Of the logarithm of a length. */
  readonly deviation?: number;
}

/** Anchors and positives. */
const TOWERS: Record<Kind, readonly [Tower, Tower]> = {
  uniform: [
    { median: 32, longest: 32 },
    { median: 128, longest: 128 },
  ],
  natural: [
    { median: 10, longest: 32 },
    { median: 70, longest: 256 },
  ],
  'uniform-512': [
    { median: 32, longest: 32 },
    { median: 512, longest: 512 },
  ],
  'natural-512': [
    { median: 10, longest: 32 },
    { median: 140, longest: 512 },
  ],
  'natural-8192': [
    { median: 10, longest: 32 },
    { median: 1500, longest: 8192, deviation: 0.8 },
  ],
};

const DEVIATION = 0.45;
const SHORTEST = 4;

/** The token ids of both towers: the same ones for everybody who is timed. `shrink` divides the lengths, for trying out. */
export function workload(
  kind: Kind,
  pairs: number,
  vocabulary: number,
  shrink = 1,
): [TokenBatch, TokenBatch] {
  const random = generator(12_345);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const side = ({ median, longest, deviation = DEVIATION }: Tower): TokenBatch => {
    const [middle, most] = [median / shrink, Math.max(1, Math.floor(longest / shrink))];
    const offsets = new Int32Array(pairs + 1);
    for (let row = 0; row < pairs; row++) {
      const drawn = median === longest ? most : Math.round(middle * Math.exp(deviation * normal()));
      offsets[row + 1] = offsets[row]! + Math.min(most, Math.max(Math.min(SHORTEST, most), drawn));
    }
    const ids = Int32Array.from(
      { length: offsets[pairs]! },
      () => 1000 + Math.floor(random() * (vocabulary - 1000)),
    );
    return { ids, offsets, truncated: 0 };
  };
  const [anchors, positives] = TOWERS[kind];
  return [side(anchors), side(positives)];
}

/** The first rows of a batch. */
export function firstRows({ ids, offsets }: TokenBatch, rows: number): TokenBatch {
  return { ids: ids.slice(0, offsets[rows]), offsets: offsets.slice(0, rows + 1), truncated: 0 };
}

/** Numbers in 0 … 1 (Mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Little-endian int32: rows, then for each tower rows + 1 offsets, then for each tower its ids. */
export function writeWorkload(path: string, towers: readonly TokenBatch[]): void {
  const parts = [
    Int32Array.of(towers[0]!.offsets.length - 1),
    ...towers.map(({ offsets }) => offsets),
    ...towers.map(({ ids }) => ids),
  ];
  writeFileSync(
    path,
    Buffer.concat(parts.map((part) => Buffer.from(part.buffer, part.byteOffset, part.byteLength))),
  );
}
