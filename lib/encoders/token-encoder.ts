import { guarded, native, type DType, type EncoderHandle, type EncoderSettings } from '../addon/native.js';
import type {
  Chunk,
  EncodedChunk,
  Encoder,
  ForwardOptions,
  PackedBatch,
  ReplayTicket,
} from '../step/encoder.js';
import { refused } from '../options/option-values.js';
import { NativeWeights } from '../tensor/native-weights.js';
import { call } from '../tensor/operators.js';
import { RowParameter } from '../tensor/row-parameter.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import type { TokenBatch, Tokenizer } from '../tokenizer/tokenizer.js';
import type { Prompts } from './prompts.js';
import { lengthsOf, requireTokens } from './text-chunk.js';
import type { TextEncoderOptions } from './text-encoder-options.js';
import { TokenPasses } from './token-passes.js';
import type { TrainedWeights } from './trained-weights.js';

type NativeOptions = Pick<TextEncoderOptions, 'device' | 'precision' | 'embeddingGradients' | 'weights'>;

/** A native encoder, its parameters and its passes. */
export class NativeTokenEncoder {
  readonly handle: EncoderHandle;
  readonly weights: NativeWeights;
  readonly passes: TokenPasses;

  constructor(
    settings: EncoderSettings,
    { device = 'cpu', precision = 'float32', embeddingGradients = 'dense', weights }: NativeOptions,
    { frozen, adapters }: TrainedWeights,
  ) {
    const byRows = embeddingGradients === 'rows';
    const narrow = weights === 'bfloat16';
    this.handle = guarded(
      () => new (native().EncoderHandle)(settings, precision, device, frozen, adapters, byRows, narrow),
    );
    this.weights = new NativeWeights(this.handle);
    if (byRows && !this.weights.trained.some(({ tensor }) => tensor instanceof RowParameter)) {
      this.dispose();
      throw refused(
        'embeddingGradients',
        embeddingGradients,
        "'dense' for a model whose table of word vectors is not trained (frozen, or adapted)",
      );
    }
    this.passes = new TokenPasses(this.handle, this.weights.trained);
  }

  dispose(): void {
    this.handle.dispose();
    this.weights.dispose();
  }
}

/** What an encoder of tokens has beside the native one. */
interface TokenEncoderParts {
  readonly native: NativeTokenEncoder;
  readonly precision: 'float32' | 'float64' | 'bfloat16' | 'tf32';
  readonly maxLength: number;
  readonly tokenizer: Tokenizer;
  readonly prompts: Prompts;
}

/** An encoder of this package that reads tokens: what {@link TextEncoder} and {@link CrossEncoder} have in common. */
export abstract class TokenEncoder implements Encoder<TokenBatch> {
  readonly device: string;
  /** The type that it computes in. */
  readonly precision: 'float32' | 'float64' | 'bfloat16' | 'tf32';
  /** The most tokens of a text, or of a pair of texts, special tokens included. */
  readonly maxLength: number;
  /** What turns its texts into tokens. */
  readonly tokenizer: Tokenizer;
  readonly queues = true;
  readonly automaticChunk: {
    /** 2,048 on the CPU, 32,768 on a GPU. */
    readonly tokens: number;
  };

  readonly #native: NativeTokenEncoder;
  readonly #prompts: Prompts;

  constructor({ native, precision, maxLength, tokenizer, prompts }: TokenEncoderParts) {
    this.#native = native;
    this.#prompts = prompts;
    this.device = native.weights.gradients.device;
    this.precision = precision;
    this.maxLength = maxLength;
    this.tokenizer = tokenizer;
    this.automaticChunk = { tokens: this.device === 'cpu' ? 2048 : 32_768 };
  }

  /** The model's prompts by name: words that `tokenize` can put in front of a text, or of the first text of a pair. */
  get prompts(): Readonly<Record<string, string>> {
    return this.#prompts.texts;
  }

  /** Name of the prompt that `tokenize` uses by default; null: none. */
  get defaultPrompt(): string | null {
    return this.#prompts.defaultName;
  }

  /**
   * Adds a prompt to the model, or replaces its words. `save` stores it.
   *
   * @throws GradCacheError `INPUT` unless both are strings and the name is not empty
   */
  setPrompt(name: string, text: string): void {
    this.#prompts.set(name, text);
  }

  lengths(batch: TokenBatch): Int32Array {
    return lengthsOf(batch);
  }

  truncated(batch: TokenBatch): number {
    requireTokens(batch);
    return batch.truncated;
  }

  graphBytes(chunk: Chunk<TokenBatch>): number {
    return this.#native.passes.graphBytes(chunk);
  }

  /**
   * Copies a batch into native memory and checks its token ids and lengths, off the event loop. A loop of one's own that
   * gives it to its chunks as `packed` has that done once; `dispose()` frees it.
   *
   * @throws GradCacheError `INPUT` for a token outside the vocabulary or a text that is too long, `SHAPE`, `DISPOSED`,
   * `OUT_OF_MEMORY`
   */
  async pack(batch: TokenBatch): Promise<PackedBatch> {
    return this.#native.passes.pack(batch);
  }

  /** @throws GradCacheError `INPUT`, `SHAPE`, `DISPOSED`, `ABORTED`, `OUT_OF_MEMORY` */
  async forwardChunk(chunk: Chunk<TokenBatch>, options: ForwardOptions): Promise<EncodedChunk> {
    return this.#native.passes.forward(chunk, options);
  }

  /**
   * @throws GradCacheError `INPUT` if the weights have changed since the first pass, or every parameter is frozen; `SHAPE`,
   * `DISPOSED`, `ABORTED`, `OUT_OF_MEMORY`
   */
  async backwardChunk(
    chunk: Chunk<TokenBatch>,
    ticket: ReplayTicket,
    gradients: Tensor,
    group = 0,
  ): Promise<void> {
    await this.#native.passes.backward(chunk, ticket, gradients, group);
  }

  /** The parameters that training changes: all but the frozen ones. */
  parameters(): Parameter[] {
    return [...this.#native.weights.trained];
  }

  /** The buffer that holds all gradients. */
  gradients(): Tensor[] {
    return [this.#native.weights.gradients];
  }

  /** Frees weights and gradients. Running chunks keep them until they are done. */
  dispose(): void {
    this.#native.dispose();
  }

  /** Frees it at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Representations [rows, width] of an encoder that are yet to be written. */
export function emptyRows(
  { precision, device }: Pick<TokenEncoder, 'precision' | 'device'>,
  rows: number,
  width: number,
): Tensor {
  const dtype: DType = precision === 'float64' ? 'float64' : 'float32';
  return call('aten::empty.memory_format', [rows, width], { dtype, device });
}
