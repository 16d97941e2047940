import type { Prompt } from '../encoders/prompts.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireCount, requireSignal, requireTexts } from '../options/option-values.js';
import { Tensor } from '../tensor/tensor.js';
import { encodeTexts, type EncodesTexts } from './encode-texts.js';
import { requireEncoder } from './retrieval-checks.js';
import { callNumber, inWorkspace } from './workspace.js';

/** Texts, and what a teacher makes of each, or of the text that it translates. */
export interface MseTask {
  /** The texts. */
  readonly texts: readonly string[];
  /** `[texts, dimension]`: what the representations are to be. It stays the caller's. */
  readonly representations: Tensor;
}

/** How far representations are from those of a teacher. */
export interface MseScores {
  /** Texts that were measured. */
  readonly texts: number;
  /** The mean of the squared differences of all numbers. */
  readonly mse: number;
}

/** Settings of {@link evaluateMse}. */
export interface MseOptions {
  /** What is put before every text: the name of a prompt of the model, `''` for nothing, or words. Default: the model's. */
  readonly prompt?: Prompt | undefined;
  /** How many numbers of each representation to compare, from the first on. Default: all. */
  readonly dimensions?: number | undefined;
  /** Ends the work after the current chunk. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * The mean squared error of a student against its teacher's representations. sentence-transformers' MSEEvaluator gives this times
 * -100, as `negative_mse`.
 *
 * ```ts
 * const task = { texts: translations, representations: await teacher.encode(texts) };
 * const { mse } = await evaluateMse(model, task);
 * ```
 *
 * @throws GradCacheError `SHAPE` for other than a row for each text and a number for each of the student's, `INPUT` for a wrong
 * option, `NON_FINITE` where a representation is not, `ABORTED`
 */
export async function evaluateMse(
  encoder: EncodesTexts,
  task: MseTask,
  options: MseOptions = {},
): Promise<MseScores> {
  checkKnown('evaluateMse', options, ['prompt', 'dimensions', 'signal']);
  requireEncoder(encoder);
  const { prompt, dimensions, signal } = options;
  if (dimensions !== undefined) requireCount('dimensions', dimensions, 1);
  requireSignal('signal', signal);
  const { texts, representations: wanted } = task ?? {};
  requireTexts('texts', texts);
  if (!(wanted instanceof Tensor)) throw refused('representations', wanted, 'a Tensor [texts, dimension]');
  const rows = await encodeTexts(encoder, texts, { prompt, dimensions, ...(signal && { signal }) });
  try {
    const [count, width] = rows.shape as [number, number];
    const [given, numbers = 0] = wanted.shape;
    const isWide = dimensions === undefined ? numbers === width : numbers >= width;
    if (wanted.shape.length !== 2 || given !== count || !isWide || count === 0)
      throw new GradCacheError(
        'SHAPE',
        `representations has shape [${wanted.shape.join()}], and those of ${count} texts to compare with have [${count},${width}]; ` +
          'a row for each text, at least 1, of as many numbers is needed.',
      );
    const mse = await inWorkspace(async (space) => {
      const cut = space.view('aten::narrow', wanted, 1, 0, width);
      const sides = [rows, await space.call('aten::to.device', cut, rows.device, 'float64')];
      const own = await space.call('aten::to.dtype', sides[0]!, 'float64');
      const difference = await space.call('aten::sub.Tensor', own, sides[1]!);
      return callNumber('aten::mean', await space.call('aten::square', difference));
    });
    if (Number.isFinite(mse)) return { texts: count, mse };
    throw new GradCacheError(
      'NON_FINITE',
      `The mean squared error is ${mse}: a representation is not finite.`,
    );
  } finally {
    rows.dispose();
  }
}
