import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber, requireSignal, requireTexts } from '../options/option-values.js';
import type { TextTask } from '../model-folder/late-interaction.js';
import type { Pooling } from '../model-folder/model-folder.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { textRefusedBehind } from '../tokenizer/text-refusal.js';
import type { TokenBatch, WindowPiece } from '../tokenizer/tokenizer.js';
import { inferEntries, inferInto } from './inference.js';
import { JoinedWindows, overlapOf, refuseWindows, type Windows } from './long-texts.js';
import type { Prompt } from './prompts.js';
import { joinedRows, type SparseRows } from './sparse-rows.js';
import { countsOf } from './text-chunk.js';
import type { TokenPasses } from './token-passes.js';
import { inWindows, overPieces } from './windows.js';

/** Texts that are read into tokens at a time, while those before are on the device. */
const WINDOW_TEXTS = 2048;

/** Chunks of a piece of windows: several, so that windows of one length come together. */
export const PIECE_CHUNKS = 4;

/** Representations of texts, one for each token. */
export interface TokenRepresentations {
  /** [tokens of all texts, dimension], text after text; the caller disposes it. */
  readonly representations: Tensor;
  /** [texts + 1], where text k has the representations `offsets[k]` to `offsets[k + 1] - 1`. */
  readonly offsets: Int32Array;
}

/** How texts are encoded. */
export interface EncodeOptions {
  readonly prompt?: Prompt | undefined;
  /** What the texts are. A model can have a length limit of its own for queries and for documents. Default: neither. */
  readonly task?: TextTask | undefined;
  readonly tokensPerChunk?: number;
  readonly signal?: AbortSignal | undefined;
}

/** How texts are encoded that may be read in windows. */
export interface WindowedOptions extends EncodeOptions {
  /** What becomes of texts that are too long. Default: they are cut, as {@link TextEncoder.encode} cuts them. */
  readonly windows?: Windows | undefined;
}

/** What inference needs of a text encoder. */
export interface TextInferenceParts {
  readonly passes: TokenPasses;
  readonly pooling: Pooling;
  /** The most numbers of a representation. */
  readonly dimension: () => number;
  /** Tokens of a chunk by default. */
  readonly tokens: number;
  readonly tokenize: (
    texts: readonly string[],
    options: { prompt?: Prompt | undefined; task?: TextTask | undefined },
  ) => Promise<TokenBatch>;
  readonly windowPieces: (
    texts: readonly string[],
    options: { prompt: Prompt | undefined; task: TextTask | undefined; overlap: number; most: number },
  ) => AsyncGenerator<WindowPiece, void, undefined>;
  /** How a sparse encoder pools the tokens of a text. */
  readonly strategy: 'max' | 'sum';
  /** A tensor of representations that is yet to be written. */
  readonly empty: (rows: number, width: number) => Tensor;
}

const WINDOWED = ['prompt', 'task', 'windows', 'tokensPerChunk', 'signal'];

/** Texts to representations, without dropout or graph. */
export class TextInference {
  readonly #parts: TextInferenceParts;

  constructor(parts: TextInferenceParts) {
    this.#parts = parts;
  }

  /** As `encode` of a TextEncoder. */
  async encode(
    texts: readonly string[],
    options: EncodeOptions & { dimensions?: number | undefined },
  ): Promise<Tensor> {
    refuseWindows(options);
    checkKnown('encode', options, ['prompt', 'task', 'dimensions', 'tokensPerChunk', 'signal']);
    if (this.#parts.pooling === 'none')
      throw new GradCacheError(
        'INPUT',
        'this model has a representation for each token (pooling none), not one for a text: use encodeTokens()',
      );
    requireSignal('signal', options.signal);
    const longest = this.#parts.dimension();
    const { prompt, task, dimensions = longest } = options;
    requireNumber('dimensions', dimensions, { from: 1, to: longest, whole: true });
    requireTexts('texts', texts);
    const given = texts.slice(); // later windows are read when the caller may have changed the list
    const { passes, empty, tokens } = this.#parts;
    const { tokensPerChunk = tokens, signal } = options;
    const result = empty(given.length, dimensions);
    try {
      await inWindows(given.length, WINDOW_TEXTS, {
        read: (begin, end) => this.#tokensOf(given, { begin, end }, { prompt, task }),
        work: (batch, begin) => {
          const rows = batch.offsets.length - 1;
          const target = noGrad(() => call('aten::narrow', result, 0, begin, rows));
          return inferInto(target, passes, batch, { tokens: tokensPerChunk, signal }).finally(() => {
            target.dispose();
          });
        },
      });
      return result;
    } catch (error) {
      result.dispose();
      throw error;
    }
  }

  /** The tokens of a window of texts. */
  async #tokensOf(
    texts: readonly string[],
    { begin, end }: { readonly begin: number; readonly end: number },
    options: { prompt?: Prompt | undefined; task?: TextTask | undefined },
  ): Promise<TokenBatch> {
    const { tokenize } = this.#parts;
    if (begin === 0) return tokenize(texts.length === end ? texts : texts.slice(0, end), options);
    try {
      return await tokenize(texts.slice(begin, end), options);
    } catch (error) {
      throw textRefusedBehind(error, begin);
    }
  }

  /** As `encodeTokens` of a TextEncoder. */
  async encodeTokens(texts: readonly string[], options: WindowedOptions): Promise<TokenRepresentations> {
    checkKnown('encodeTokens', options, WINDOWED);
    if (this.#parts.pooling !== 'none')
      throw new GradCacheError(
        'INPUT',
        'this model pools the tokens of a text into one representation: use encode()',
      );
    requireSignal('signal', options.signal);
    const overlap = overlapOf(options.windows);
    const { batch, texts: of } =
      overlap === undefined
        ? await this.#whole(texts, options)
        : await this.#allWindows(texts, options, overlap);
    const offsets = new Int32Array(texts.length + 1);
    const tokens = of.length === 0 ? [] : countsOf(batch);
    for (const [window, text] of of.entries()) offsets[text + 1]! += tokens[window]!;
    for (let text = 1; text < offsets.length; text++) offsets[text]! += offsets[text - 1]!;
    const shape = [offsets[texts.length]!, this.#parts.dimension()] as const;
    return { representations: await this.#encoded(batch, shape, options), offsets };
  }

  /** As `encodeSparse` of a TextEncoder. */
  async encodeSparse(texts: readonly string[], options: WindowedOptions): Promise<SparseRows> {
    checkKnown('encodeSparse', options, WINDOWED);
    requireSignal('signal', options.signal);
    const { passes, pooling } = this.#parts;
    if (pooling !== 'splade') throw refused('pooling', pooling, "'splade', for sparse representations,");
    const { tokensPerChunk: tokens = this.#parts.tokens, signal } = options;
    const dimension = this.#parts.dimension();
    const infer = async (batch: TokenBatch): Promise<SparseRows> =>
      joinedRows(await inferEntries(passes, batch, { tokens, signal }), batch.offsets.length - 1, dimension);
    const overlap = overlapOf(options.windows);
    if (overlap === undefined) return infer((await this.#whole(texts, options)).batch);
    const rows = new JoinedWindows(texts.length, this.#parts.strategy, dimension);
    const most = tokens * PIECE_CHUNKS;
    await overPieces(this.#pieces(texts, options, { overlap, most }), async (piece) => {
      rows.add(await infer(piece.batch), piece.texts);
    });
    return rows.finish();
  }

  /** Texts of which each has one window. */
  async #whole(texts: readonly string[], { prompt, task }: WindowedOptions): Promise<WindowPiece> {
    const batch = await this.#parts.tokenize(texts, { prompt, task });
    return { batch, texts: Int32Array.from(texts.keys()) };
  }

  #pieces(
    texts: readonly string[],
    { prompt, task }: WindowedOptions,
    how: { readonly overlap: number; readonly most: number },
  ): AsyncGenerator<WindowPiece, void, undefined> {
    return this.#parts.windowPieces(texts, { prompt, task, ...how });
  }

  /** The windows of texts as one piece: what is made of them, a representation a token, is larger. */
  async #allWindows(
    texts: readonly string[],
    options: WindowedOptions,
    overlap: number,
  ): Promise<WindowPiece> {
    for await (const piece of this.#pieces(texts, options, { overlap, most: Infinity })) return piece;
    return this.#whole([], options);
  }

  /** A tensor [rows, width] of what texts are encoded as. */
  async #encoded(
    batch: TokenBatch,
    [rows, width]: readonly [number, number],
    { tokensPerChunk: tokens = this.#parts.tokens, signal }: EncodeOptions,
  ): Promise<Tensor> {
    const result = this.#parts.empty(rows, width);
    try {
      await inferInto(result, this.#parts.passes, batch, { tokens, signal });
      return result;
    } catch (error) {
      result.dispose();
      throw error;
    }
  }
}
