import { lengthsOf, RowStreams } from '../../language/row-streams.js';
import type { Corpus } from '../../language/corpus.js';
import { lengthOf } from '../../language/segments.js';
import type { Segment } from '../../language/segment-model.js';
import type { FilledLanguageConfig } from './read-config.js';

/** The segments of one update. */
export interface SegmentBatch {
  readonly segments: readonly Segment[];
  /** Counted from 0, like the place in the epoch. */
  readonly epoch: number;
  readonly index: number;
}

type Settings = Pick<FilledLanguageConfig, 'rows' | 'segment' | 'seed'>;

/** The updates of one pass over the corpus. */
export function stepsPerEpoch(corpus: Corpus, { rows, segment, seed }: Settings, epoch: number): number {
  const streams = new RowStreams(corpus, rows);
  const lengths = lengthsOf(segment, seed, epoch);
  let segments = 0;
  while (streams.skip(lengths.next().value as number)) segments++;
  return Math.ceil(segments / segment.count);
}

/** The pass over the corpus that an update belongs to, counted from 0 like it. */
export function epochOf(corpus: Corpus, settings: Settings, update: number): number {
  let left = update;
  for (let epoch = 0; ; epoch++) if ((left -= stepsPerEpoch(corpus, settings, epoch)) < 0) return epoch;
}

/** The updates of a run over as many passes as needed, without the first `skip`. */
export function* segmentSteps(
  corpus: Corpus,
  settings: Settings,
  skip: number,
): Generator<SegmentBatch, void, undefined> {
  let left = skip;
  for (let epoch = 0; ; epoch++) {
    const inEpoch = stepsPerEpoch(corpus, settings, epoch);
    if (left >= inEpoch) {
      left -= inEpoch;
      continue;
    }
    yield* epochSteps(corpus, settings, epoch, left);
    left = 0;
  }
}

function* epochSteps(
  corpus: Corpus,
  { rows, segment, seed }: Settings,
  epoch: number,
  skip: number,
): Generator<SegmentBatch, void, undefined> {
  const streams = new RowStreams(corpus, rows);
  const lengths = lengthsOf(segment, seed, epoch);
  const length = () => lengths.next().value as number;
  for (let k = 0; k < skip * segment.count; k++) streams.skip(length());
  for (let index = skip; ; index++) {
    const segments: Segment[] = [];
    while (segments.length < segment.count) {
      const next = streams.next(length());
      if (next === null) break;
      segments.push(next);
    }
    if (segments.length === 0) return;
    yield { segments, epoch, index };
  }
}

/** The mean length of a segment, beside that of the configuration: the learning rate of jittered segments is scaled by it. */
export function lengthScale({ segments }: SegmentBatch, { length }: { readonly length: number }): number {
  const total = segments.reduce((sum, segment) => sum + lengthOf(segment), 0);
  return total / segments.length / length;
}
