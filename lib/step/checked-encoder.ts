import { types } from 'node:util';
import { refused, requireBoolean, requireCount, requireNumber } from '../options/option-values.js';
import { requireDevice } from '../tensor/tensor-data.js';
import { requireParameterList } from '../tensor/parameter-list.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import { isChunkSize, type FixedChunkSize } from './chunk-plan.js';
import { requireTicket } from './chunk-checks.js';
import type {
  AnyEncoder,
  Chunk,
  EncodedChunk,
  ForwardOptions,
  PackedBatch,
  ReplayTicket,
  RowPasses,
} from './encoder.js';

/**
 * An encoder as a step uses it. Users may write their own encoders, so the results are checked.
 *
 * @throws GradCacheError each method: `INPUT` or `DEVICE` for a wrong result; errors of the encoder pass through
 */
export class CheckedEncoder implements AnyEncoder {
  readonly #encoder: AnyEncoder;
  readonly #name: string;

  constructor(encoder: AnyEncoder, name: string) {
    this.#encoder = encoder;
    this.#name = name;
  }

  get device(): string {
    const { device } = this.#encoder;
    requireDevice(`device of ${this.#name}`, device);
    return device;
  }

  get queues(): boolean {
    return Boolean(this.#encoder.queues);
  }

  get automaticChunk(): FixedChunkSize {
    const { automaticChunk: size } = this.#encoder;
    if (isChunkSize(size)) return size;
    throw refused(`automaticChunk of ${this.#name}`, size, '{ sequences } or { tokens } of at least 1');
  }

  get trainedDimension(): number | undefined {
    const { trainedDimension } = this.#encoder;
    if (trainedDimension !== undefined)
      requireCount(`trainedDimension of ${this.#name}`, trainedDimension, 1);
    return trainedDimension;
  }

  get layers(): readonly number[] | undefined {
    const { layers } = this.#encoder;
    if (layers === undefined) return undefined;
    const given: unknown = layers;
    if (!Array.isArray(given)) throw refused(`layers of ${this.#name}`, given, 'a list of numbers of layers');
    for (const layer of layers) requireCount(`layers of ${this.#name}`, layer, 0);
    return layers;
  }

  get sparse(): boolean {
    const { sparse = false } = this.#encoder;
    requireBoolean(`sparse of ${this.#name}`, sparse);
    return sparse;
  }

  get perToken(): boolean {
    return Boolean(this.#encoder.perToken);
  }

  lengths(batch: never): Int32Array {
    const lengths: unknown = this.#encoder.lengths(batch);
    if (types.isInt32Array(lengths)) return lengths;
    throw refused(this.#given('lengths'), lengths, 'an Int32Array');
  }

  truncated(batch: never): number {
    const count: unknown = this.#encoder.truncated(batch);
    requireCount(this.#given('truncated'), count, 0);
    return count;
  }

  async pack(batch: never): Promise<PackedBatch | undefined> {
    const packed: unknown = await this.#encoder.pack?.(batch);
    if (packed === undefined) return undefined;
    const { dispose } = (packed ?? {}) as { dispose?: unknown };
    if (typeof dispose === 'function') return packed as PackedBatch;
    throw refused(this.#given('pack'), packed, 'an object with dispose()');
  }

  async forwardChunk(chunk: Chunk<never>, options: ForwardOptions): Promise<EncodedChunk> {
    const encoded: unknown = await this.#encoder.forwardChunk(chunk, options);
    const { representations, ticket } = (encoded ?? {}) as { representations?: unknown; ticket?: unknown };
    if (!(representations instanceof Tensor))
      throw refused(this.#given('forwardChunk'), encoded, '{ representations, ticket }');
    requireTicket(`the ticket of ${this.#name}`, ticket);
    return encoded as EncodedChunk;
  }

  async backwardChunk(
    chunk: Chunk<never>,
    ticket: ReplayTicket,
    gradients: Tensor,
    group?: number,
    before?: (representations: Tensor) => Promise<void>,
  ): Promise<void> {
    await this.#encoder.backwardChunk(chunk, ticket, gradients, group, before);
  }

  get rowPasses(): RowPasses<never> | undefined {
    const { rowPasses } = this.#encoder;
    if (rowPasses === undefined) return undefined;
    const { empty, counts, forward, backward, progress } = (rowPasses ?? {}) as Partial<RowPasses<never>>;
    const given: unknown[] = [empty, forward, backward, ...(counts === undefined ? [] : [counts])];
    if (progress !== undefined) given.push(progress?.reset, progress?.finalFrom);
    if (given.every((pass) => typeof pass === 'function')) return rowPasses;
    throw refused(`rowPasses of ${this.#name}`, rowPasses, '{ empty, forward, backward }');
  }

  graphBytes(chunk: Chunk<never>): number | null {
    const bytes: unknown = this.#encoder.graphBytes(chunk);
    if (bytes !== null) requireNumber(this.#given('graphBytes'), bytes, { from: 0 });
    return bytes;
  }

  parameters(): Parameter[] {
    return requireParameterList(this.#given('parameters'), this.#encoder.parameters());
  }

  #given(method: string): string {
    return `what ${method}() of ${this.#name} returned`;
  }
}

/** Wraps each encoder once, so that tied towers stay tied. */
export function checkedEncoders(encoders: readonly AnyEncoder[]): CheckedEncoder[] {
  const checked = new Map<AnyEncoder, CheckedEncoder>();
  return encoders.map((encoder, tower) => {
    const known = checked.get(encoder) ?? new CheckedEncoder(encoder, `encoders[${tower}]`);
    checked.set(encoder, known);
    return known;
  });
}
