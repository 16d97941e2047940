import type { Prompt } from '../encoders/prompts.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireCount, requireSignal, requireTexts } from '../options/option-values.js';
import type { Similarity } from '../options/similarity.js';
import { takeRows } from '../tensor/rows.js';
import type { Tensor } from '../tensor/tensor.js';
import { DistinctTexts } from './distinct-texts.js';
import { encodeTexts, type EncodesTexts } from './encode-texts.js';
import { requireEncoder } from './retrieval-checks.js';
import { search } from './search.js';
import { chooseSimilarity } from './similarity.js';

/** Texts, and the translation of each. */
export interface TranslationTask {
  /** The texts. */
  readonly source: readonly string[];
  /** For each text its translation. */
  readonly target: readonly string[];
}

/** How often the nearest text of the other language is the translation. */
export interface TranslationScores {
  /** Texts with their translations that were measured. */
  readonly pairs: number;
  /** The share of texts whose nearest target is the translation. */
  readonly sourceToTarget: number;
  /** The share of translations whose nearest source is the text. */
  readonly targetToSource: number;
  /** The mean of both. */
  readonly accuracy: number;
}

/** Settings of {@link evaluateTranslation}. */
export interface TranslationOptions {
  /** Default: the model's, or cosine if it names none. */
  readonly similarity?: Similarity | undefined;
  /** What is put before every text: the name of a prompt of the model, `''` for nothing, or words. Default: the model's. */
  readonly prompt?: Prompt | undefined;
  /** How many numbers of each representation to compare, from the first on. Default: all. */
  readonly dimensions?: number | undefined;
  /** Ends the work after the current chunk. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Whether texts and their translations find each other, as sentence-transformers' TranslationEvaluator measures it (by cosine, there
 * always). Of equally near texts the first is taken. Each different text is encoded once.
 *
 * @throws GradCacheError `SHAPE` for lists of different lengths or without a text, `INPUT` for a wrong option, `NON_FINITE`,
 * `ABORTED`
 * @example
 * ```ts
 * const { accuracy } = await evaluateTranslation(model, await readTranslation('translations.csv'));
 * ```
 */
export async function evaluateTranslation(
  encoder: EncodesTexts,
  task: TranslationTask,
  options: TranslationOptions = {},
): Promise<TranslationScores> {
  checkKnown('evaluateTranslation', options, ['similarity', 'prompt', 'dimensions', 'signal']);
  requireEncoder(encoder);
  const { prompt, dimensions, signal } = options;
  if (dimensions !== undefined) requireCount('dimensions', dimensions, 1);
  requireSignal('signal', signal);
  const similarity = chooseSimilarity(options.similarity, encoder);
  const { source, target } = task ?? {};
  requireTexts('source', source);
  requireTexts('target', target);
  const pairs = source.length;
  if (pairs !== target.length || pairs === 0)
    throw new GradCacheError(
      'SHAPE',
      `There are ${pairs} source texts and ${target.length} target texts; as many of each, at least 1, are needed.`,
    );
  const all = new DistinctTexts();
  const sides = [source, target].map((texts) => {
    const { distinct, of } = DistinctTexts.from(texts);
    return { of, numbers: Int32Array.from(distinct.list, (text) => all.of(text)) };
  });
  const rows = await encodeTexts(encoder, all.list, { prompt, dimensions, ...(signal && { signal }) });
  let taken: Tensor[] = [];
  try {
    taken = sides.map(({ numbers }) => takeRows(rows, numbers));
    const [sourceToTarget, targetToSource] = [await share(0, 1), await share(1, 0)];
    return { pairs, sourceToTarget, targetToSource, accuracy: (sourceToTarget + targetToSource) / 2 };
  } finally {
    for (const tensor of [rows, ...taken]) tensor.dispose();
  }

  /** The share of pairs whose text of one side is nearest to its text of the other. */
  async function share(from: 0 | 1, to: 0 | 1): Promise<number> {
    const { documents } = await search(taken[from]!, taken[to]!, { k: 1, similarity });
    const [asked, wanted] = [sides[from]!.of, sides[to]!.of];
    const right = asked.reduce((sum, text, pair) => sum + (documents[text] === wanted[pair] ? 1 : 0), 0);
    return right / pairs;
  }
}
