import type { Prompt } from '../encoders/prompts.js';
import type { SparseRows } from '../encoders/sparse-rows.js';
import type { TokenRepresentations } from '../encoders/text-encoder.js';
import { GradCacheError } from '../errors.js';
import type { TextTask } from '../model-folder/late-interaction.js';
import { refused } from '../options/option-values.js';
import { Tensor } from '../tensor/tensor.js';
import type { search } from './search.js';

/** How retrieval and STS want texts encoded. */
interface TextOptions {
  prompt?: Prompt | undefined;
  /** How many numbers of each representation to give; all of them where it is not said. */
  dimensions?: number | undefined;
  tokensPerChunk?: number;
  signal?: AbortSignal | undefined;
}

/** What retrieval and STS need of an encoder; `TextEncoder` has it. */
export interface EncodesTexts {
  /** Representations of texts, [texts, dimension], without a graph; the caller disposes of them. */
  encode(texts: readonly string[], options?: TextOptions): Promise<Tensor>;
  /** Encodes queries of retrieval, if it is there; else `encode` does. */
  encodeQuery?(texts: readonly string[], options?: TextOptions): Promise<Tensor>;
  /** Encodes documents of retrieval, if it is there; else `encode` does. */
  encodeDocument?(texts: readonly string[], options?: TextOptions): Promise<Tensor>;
  /** Whether representations are sparse. Retrieval then takes them without their zeros. Default: false. */
  readonly sparse?: boolean;
  /** What `encode` does, of a sparse encoder: the numbers that are not 0. */
  encodeSparse?(
    texts: readonly string[],
    options?: {
      task?: TextTask | undefined;
      prompt?: Prompt | undefined;
      tokensPerChunk?: number;
      signal?: AbortSignal | undefined;
    },
  ): Promise<SparseRows>;
  /**
   * Prompts by name. For retrieval, where no other is asked for, queries get the one named `query`, documents the first of
   * `document`, `passage` and `corpus` that there is.
   */
  readonly prompts?: Readonly<Record<string, string>>;
  /** The similarity that the model is made for; used where no other is asked for. */
  readonly similarity?: string | null;
  /** How documents are searched, if it is there: of an encoder that is shared over ranks, shared too. Else `search`. */
  readonly search?: typeof search;
}

/** What retrieval needs of an encoder with a representation for each token; `TextEncoder` with `pooling: 'none'` has it. */
export interface EncodesTokens {
  readonly perToken: true;
  encodeTokens(
    texts: readonly string[],
    options?: {
      task?: TextTask | undefined;
      prompt?: Prompt | undefined;
      signal?: AbortSignal | undefined;
    },
  ): Promise<TokenRepresentations>;
  readonly prompts?: Readonly<Record<string, string>>;
  /** The similarity that the model is made for: `'maxsim'` (where it names none) or `'meanmaxsim'`. */
  readonly similarity?: string | null;
}

/** Whether an encoder has a representation for each token. */
export function encodesTokens(encoder: EncodesTexts | EncodesTokens): encoder is EncodesTokens {
  return (encoder as Partial<EncodesTokens>).perToken === true;
}

/**
 * Representations of texts, [texts, dimension]. The encoder may be the caller's own: one that leaves a text out would shift
 * all that follow, in silence.
 *
 * @param task what the texts are, in retrieval
 * @throws GradCacheError `INPUT` where it gives no tensor, `SHAPE` where it gives another number of rows or of dimensions
 */
export async function encodeTexts(
  encoder: EncodesTexts,
  texts: readonly string[],
  options: TextOptions | undefined,
  task?: TextTask,
): Promise<Tensor> {
  const representations: unknown = await encodedFor(encoder, texts, options, task);
  if (!(representations instanceof Tensor))
    throw refused('what encode() returned', representations, 'a Tensor [texts, dimension]');
  const { shape } = representations;
  const dimensions = options?.dimensions ?? shape[1];
  if (shape.length === 2 && shape[0] === texts.length && shape[1] === dimensions) return representations;
  representations.dispose();
  throw new GradCacheError(
    'SHAPE',
    `encode() returned shape [${shape.join()}] for ${texts.length} texts, expected ` +
      `[${texts.length}, ${options?.dimensions ?? 'dimension'}].`,
  );
}

function encodedFor(
  encoder: EncodesTexts,
  texts: readonly string[],
  options: TextOptions | undefined,
  task: TextTask | undefined,
): Promise<Tensor> {
  if (task === 'query' && encoder.encodeQuery !== undefined) return encoder.encodeQuery(texts, options);
  if (task === 'document' && encoder.encodeDocument !== undefined)
    return encoder.encodeDocument(texts, options);
  return encoder.encode(texts, options);
}
