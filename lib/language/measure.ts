import type { Ranks } from '../distributed/ranks.js';
import { toldByEach } from '../distributed/shared-work.js';
import { GradCacheError } from '../errors.js';
import { throwIfAborted } from '../options/abort.js';
import { afterEnds, disposeCarried } from './carried.js';
import type { Corpus } from './corpus.js';
import { RowStreams } from './row-streams.js';
import { rowsOfRank, rowsOfSegment, type RowRange } from './rows-of-ranks.js';
import type { Carried, Segment } from './segment-model.js';

/** A model that tells how likely a segment's targets are, without dropout. */
export interface ScoresSegments {
  initialState(rows: number): Carried;
  logLikelihoods(
    segment: Segment,
    before: Carried,
    options: { readonly window?: number | undefined },
  ): Promise<{ readonly values: Float32Array | Float64Array; readonly after: Carried }>;
}

/** How a corpus is measured. */
export interface MeasureOptions {
  /** Parts of the corpus that are read side by side; each begins without a state. Default 1. */
  readonly rows?: number;
  /** Tokens of a row that are read at a time; it does not change the result. Default 512. */
  readonly length?: number;
  /** To how many tokens before its own a token attends. Default: the model's setting. */
  readonly window?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Processes that share the rows; all call it, and get the same. */
  readonly ranks?: Ranks | null | undefined;
}

/** How well a model predicts a corpus. */
export interface CorpusScores {
  /** Negative log-likelihood in bits for each character, or for each byte where these are the tokens. */
  readonly bitsPerCharacter: number;
  /** The exponential of the negative log-likelihood in nats for each token. */
  readonly perplexity: number;
}

/**
 * Measures a model on a corpus that it reads from its beginning to its end, with the state carried along. The first token of
 * a document is not predicted, and does not count.
 *
 * @throws GradCacheError `INPUT` for a corpus that is too short; `NON_FINITE` for a model that diverged; `ABORTED`;
 * `DISTRIBUTED`, and the errors of other ranks
 */
export async function measureCorpus(
  model: ScoresSegments,
  corpus: Corpus,
  { rows = 1, length = 512, window, signal, ranks = null }: MeasureOptions = {},
): Promise<CorpusScores> {
  const { all } = await toldByEach(
    ranks,
    'measuring held-out text',
    () => sumsOf(model, corpus, rowsOfRank(ranks, rows), { rows, length, window, signal }),
    ({ nats, tokens }) => [nats, tokens],
  );
  const [nats, tokens] = [0, 1].map((place) => all.reduce((sum, each) => sum + each[place]!, 0)) as [
    number,
    number,
  ];
  if (!Number.isFinite(nats))
    throw new GradCacheError(
      'NON_FINITE',
      `The log-likelihood of the text is ${-nats}: the model's weights are of a run that diverged. Take an earlier checkpoint.`,
    );
  const charactersPerToken = corpus.characters / corpus.tokens.length;
  return {
    bitsPerCharacter: nats / Math.LN2 / tokens / charactersPerToken,
    perplexity: Math.exp(nats / tokens),
  };
}

/** The negative log-likelihood of some rows, and how many tokens it is of. */
async function sumsOf(
  model: ScoresSegments,
  corpus: Corpus,
  own: RowRange,
  { rows, length, window, signal }: Required<Pick<MeasureOptions, 'rows' | 'length'>> & MeasureOptions,
): Promise<{ nats: number; tokens: number }> {
  const streams = new RowStreams(corpus, rows);
  const count = own.to - own.from;
  if (count === 0) return { nats: 0, tokens: 0 };
  let carried = model.initialState(count);
  let nats = 0;
  let tokens = 0;
  try {
    for (let whole; (whole = streams.next(length)) !== null;) {
      throwIfAborted(signal);
      const segment = rowsOfSegment(whole, own);
      const { values, after } = await model.logLikelihoods(segment, carried, { window });
      disposeCarried(carried);
      carried = afterEnds(after, count, segment.ends ?? [], () => model.initialState(count));
      for (const value of values) nats -= value;
      for (const target of segment.targets) if (target >= 0) tokens++;
    }
  } finally {
    disposeCarried(carried);
  }
  return { nats, tokens };
}
