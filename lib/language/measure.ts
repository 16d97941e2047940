import { GradCacheError } from '../errors.js';
import { throwIfAborted } from '../options/abort.js';
import { afterEnds, disposeCarried } from './carried.js';
import type { Corpus } from './corpus.js';
import { RowStreams } from './row-streams.js';
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
 * @throws GradCacheError `INPUT` for a corpus that is too short; `NON_FINITE` for a model that diverged; `ABORTED`
 */
export async function measureCorpus(
  model: ScoresSegments,
  corpus: Corpus,
  { rows = 1, length = 512, window, signal }: MeasureOptions = {},
): Promise<CorpusScores> {
  const streams = new RowStreams(corpus, rows);
  let carried = model.initialState(rows);
  let nats = 0;
  let tokens = 0;
  try {
    for (let segment; (segment = streams.next(length)) !== null;) {
      throwIfAborted(signal);
      const { values, after } = await model.logLikelihoods(segment, carried, { window });
      disposeCarried(carried);
      carried = afterEnds(after, rows, segment.ends ?? [], () => model.initialState(rows));
      for (const value of values) nats -= value;
      for (const target of segment.targets) if (target >= 0) tokens++;
    }
  } finally {
    disposeCarried(carried);
  }
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
