import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber } from '../options/option-values.js';
import { requireForwardOptions } from '../step/chunk-checks.js';
import type { FixedChunkSize } from '../step/chunk-plan.js';
import type { Chunk, EncodedChunk, Encoder, ForwardOptions, PackedBatch } from '../step/encoder.js';
import { callAsync } from '../tensor/operators.js';
import { ParameterSet } from '../tensor/parameter-set.js';
import type { Parameter } from '../tensor/tensor.js';

/**
 * An encoder that follows another one slowly (He et al. 2020): each {@link MomentumEncoder.update} makes its weights
 * `momentum` times what they were plus `1 - momentum` times the other's. Its representations change less from batch to batch
 * than the trained encoder's, so that those of earlier batches stay comparable.
 *
 * It trains nothing: as a tower of a {@link GradCache} it is encoded once, without a graph. With
 * {@link crossBatchMemory} it is the tower that is kept: `{ tower: 2, joins: false }` for `[model, model, momentum]`.
 *
 * @example
 * ```ts
 * const copy = await TextEncoder.load('my-model', { dropout: 0 });
 * const momentum = new MomentumEncoder(model, copy, { momentum: 0.999 });
 * const loss = crossBatchMemory(infoNCE(), { capacity: 4096, tower: 2, joins: false });
 * const gradcache = new GradCache({ encoders: [model, model, momentum], loss });
 * await gradcache.step([anchors, positives, positives].map((texts) => model.tokenize(texts)));
 * await optimizer.step();
 * await momentum.update();
 * ```
 */
export class MomentumEncoder<Batch> implements Encoder<Batch> {
  readonly #model: Encoder<Batch>;
  readonly #copy: Encoder<Batch>;
  readonly #momentum: number;

  /**
   * @param model the encoder that is trained
   * @param copy a second encoder of the same architecture, which becomes part of this one. It takes the model's weights. Load
   * it with `dropout: 0`, so that what is kept is not disturbed by masks.
   * @param options.momentum from 0 (the model of the last update) to 1 (never changes). Default 0.999.
   * @throws GradCacheError `INPUT`, `SHAPE`, `DEVICE` for a copy with other parameters or on another device
   */
  constructor(model: Encoder<Batch>, copy: Encoder<Batch>, options: { momentum?: number } = {}) {
    checkKnown('MomentumEncoder', options, ['momentum']);
    const { momentum = 0.999 } = options;
    requireNumber('momentum', momentum, { from: 0, to: 1 });
    for (const [name, encoder] of Object.entries({ model, copy })) {
      if (typeof (encoder as Partial<Encoder<Batch>> | null | undefined)?.parameters !== 'function')
        throw refused(name, encoder, 'an encoder');
    }
    this.#model = model;
    this.#copy = copy;
    this.#momentum = momentum;
    for (const [of, from] of this.#pairs()) of.tensor.copyFrom(from.tensor);
  }

  get device(): string {
    return this.#copy.device;
  }

  get queues(): boolean {
    return this.#copy.queues === true;
  }

  get sparse(): boolean {
    return this.#copy.sparse === true;
  }

  get perToken(): boolean {
    return this.#copy.perToken === true;
  }

  get trainedDimension(): number | undefined {
    return this.#copy.trainedDimension;
  }

  get layers(): readonly number[] | undefined {
    return this.#copy.layers;
  }

  get automaticChunk(): FixedChunkSize {
    return this.#copy.automaticChunk;
  }

  /** Moves the weights towards the model's. Call it after each update of the model. */
  async update(): Promise<void> {
    const pairs = this.#pairs();
    const weights = new ParameterSet(pairs.map(([of]) => of));
    await weights.whileUpdating(async () => {
      for (const [of, from] of pairs) {
        // of += (1 - momentum) * (from - of)
        (await callAsync('aten::lerp_.Scalar', of.tensor, from.tensor, 1 - this.#momentum)).dispose();
      }
    });
  }

  /** The parameters of the copy, for a checkpoint. Training does not change them. */
  weights(): readonly Parameter[] {
    return this.#copy.parameters();
  }

  lengths(batch: Batch): Int32Array {
    return this.#copy.lengths(batch);
  }

  truncated(batch: Batch): number {
    return this.#copy.truncated(batch);
  }

  async pack(batch: Batch): Promise<PackedBatch | undefined> {
    return this.#copy.pack?.(batch);
  }

  async forwardChunk(chunk: Chunk<Batch>, options: ForwardOptions): Promise<EncodedChunk> {
    requireForwardOptions(options);
    return { ...(await this.#copy.forwardChunk(chunk, { ...options, retain: false })), frozen: true };
  }

  /** @throws GradCacheError `INPUT`: it has no second pass */
  backwardChunk(): Promise<void> {
    throw new GradCacheError('INPUT', 'a MomentumEncoder trains nothing: its chunks have no second pass');
  }

  graphBytes(chunk: Chunk<Batch>): number | null {
    return this.#copy.graphBytes(chunk);
  }

  /** None. */
  parameters(): Parameter[] {
    return [];
  }

  /** Each parameter of the copy with the model's of the same name. @throws GradCacheError `INPUT`, `SHAPE`, `DEVICE` */
  #pairs(): (readonly [Parameter, Parameter])[] {
    const own = new Map(this.#copy.parameters().map((parameter) => [parameter.name, parameter]));
    return this.#model.parameters().map((from) => {
      const of = own.get(from.name);
      if (of === undefined)
        throw new GradCacheError('INPUT', `the copy has no parameter ${from.name}, which the model trains`);
      if (of.tensor === from.tensor)
        throw new GradCacheError('INPUT', 'the copy is the model itself: load the model a second time');
      if (of.tensor.shape.join() !== from.tensor.shape.join())
        throw new GradCacheError(
          'SHAPE',
          `${from.name} is [${of.tensor.shape.join()}] in the copy and [${from.tensor.shape.join()}] in the model`,
        );
      if (of.tensor.device !== from.tensor.device)
        throw new GradCacheError(
          'DEVICE',
          `the copy is on ${of.tensor.device} and the model on ${from.tensor.device}: load both on one device`,
        );
      return [of, from] as const;
    });
  }
}
