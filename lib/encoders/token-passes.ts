import { guarded, guardedAsync, type EncoderHandle, type TokenBatchHandle } from '../addon/native.js';
import { GradCacheError } from '../errors.js';
import { requireBackward, requireChunk, requireForwardOptions } from '../step/chunk-checks.js';
import type {
  BackwardProgress,
  Chunk,
  EncodedChunk,
  EncodedRows,
  ForwardOptions,
  PackedBatch,
  ReplayTicket,
} from '../step/encoder.js';
import { backwardInGroup } from '../tensor/autograd.js';
import { RowParameter } from '../tensor/row-parameter.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import type { TokenBatch } from '../tokenizer/tokenizer.js';
import { PackedTokens } from './packed-tokens.js';
import { cut, requireTokens } from './text-chunk.js';

/** The passes of a native encoder over chunks of token ids. */
export class TokenPasses {
  readonly #handle: EncoderHandle;
  /** The version of the weights that a ticket's representations were computed with. */
  readonly #weights = new WeakMap<ReplayTicket, number>();

  /** Whether every parameter is frozen: then there are no graphs, and no second pass. */
  readonly #frozen: boolean;
  /** Tables whose gradients are of rows. */
  readonly #tables: readonly RowParameter[];

  /** @param trained the parameters that are not frozen */
  constructor(handle: EncoderHandle, trained: readonly Parameter[]) {
    this.#handle = handle;
    this.#frozen = trained.length === 0;
    this.#tables = trained.map(({ tensor }) => tensor).filter((tensor) => tensor instanceof RowParameter);
  }

  graphBytes(chunk: Chunk<TokenBatch>): number {
    requireChunk(chunk);
    const bytes = guarded(() => this.#handle.graphBytes(chunk.tokens, chunk.rows.length));
    return this.#frozen ? 0 : bytes;
  }

  async pack(batch: TokenBatch): Promise<PackedBatch> {
    requireTokens(batch);
    const { ids, offsets, types, counted, skipped, unattended } = batch;
    const handle = await guardedAsync(() =>
      this.#handle.batch(ids, offsets, undefined, types, counted, skipped, unattended),
    );
    return new PackedTokens(handle, batch);
  }

  /** Without dropout or graph, into the places of `chunk.rows` in `target`, which is of the whole batch. */
  async infer(
    { batch, packed, rows, tokens }: Chunk<TokenBatch>,
    group: number,
    target: Tensor,
  ): Promise<void> {
    const handle = PackedTokens.handleOf(packed, batch);
    await guardedAsync(() =>
      this.#handle.forward(handle, rows, tokens, 0, 'inference', group, target.handle),
    );
  }

  /** See {@link RowPasses}. */
  async forwardRows(
    { batch, packed, rows, tokens }: Chunk<TokenBatch>,
    { seed, retain = false, evaluation = false, group = 0 }: ForwardOptions,
    target: Tensor,
  ): Promise<EncodedRows> {
    const frozen = this.#frozen;
    const mode = evaluation ? 'inference' : retain && !frozen ? 'with-graph' : 'without-graph';
    const handle = PackedTokens.handleOf(packed, batch);
    const weights = guarded(() => this.#handle.version);
    const graph = await guardedAsync(() =>
      this.#handle.forward(handle, rows, tokens, seed, mode, group, target.handle),
    );
    const ticket = this.#ticket(seed, graph === undefined ? null : new Tensor(graph), weights);
    return { ticket, frozen };
  }

  /** See {@link RowPasses}. */
  get progress(): BackwardProgress {
    return {
      reset: () => {
        guarded(() => {
          this.#handle.resetProgress();
        });
      },
      finalFrom: () => guarded(() => this.#handle.finalFrom()),
    };
  }

  /** See {@link RowPasses}. */
  async backwardRows(
    { batch, packed, rows, tokens }: Chunk<TokenBatch>,
    ticket: ReplayTicket,
    gradients: Tensor,
    group: number,
    last = false,
  ): Promise<void> {
    const handle = PackedTokens.handleOf(packed, batch);
    const weights = this.#weights.get(ticket);
    this.#requireWeights(weights);
    const { seed, graph } = ticket;
    await this.#adding(() =>
      guardedAsync(() =>
        this.#handle.backwardRows(
          handle,
          rows,
          tokens,
          seed,
          gradients.handle,
          group,
          graph?.handle ?? null,
          last,
        ),
      ),
    );
    graph?.dispose();
    this.#requireWeights(weights);
  }

  async forward(chunk: Chunk<TokenBatch>, options: ForwardOptions): Promise<EncodedChunk> {
    requireForwardOptions(options);
    const { seed, group = 0 } = options;
    const frozen = this.#frozen;
    const evaluation = options.evaluation === true;
    const retain = options.retain === true && !frozen && !evaluation;
    requireChunk(chunk);
    const mode = evaluation ? 'inference' : retain ? 'with-graph' : 'without-graph';
    const weights = guarded(() => this.#handle.version);
    const { representations, counts } = await this.#withTokens(chunk, (batch, rows) =>
      this.#handle.forward(batch, rows, chunk.tokens, seed, mode, group),
    );
    const result = new Tensor(representations);
    const ticket = this.#ticket(seed, retain ? result : null, weights);
    return {
      representations: retain ? result.detach() : result,
      ...(counts !== null && { counts }),
      ticket,
      frozen,
    };
  }

  /** Without dropout or graph, in the form of training. */
  async inferChunk(
    { batch, packed, rows, tokens }: Chunk<TokenBatch>,
    group: number,
  ): Promise<{ readonly representations: Tensor; readonly counts: Int32Array | null }> {
    const handle = PackedTokens.handleOf(packed, batch);
    const { representations, counts } = await guardedAsync(() =>
      this.#handle.forward(handle, rows, tokens, 0, 'inference', group),
    );
    return { representations: new Tensor(representations), counts };
  }

  #ticket(seed: number, graph: Tensor | null, weights: number): ReplayTicket {
    const ticket = { seed, graph };
    this.#weights.set(ticket, weights);
    return ticket;
  }

  async backward(
    chunk: Chunk<TokenBatch>,
    ticket: ReplayTicket,
    gradients: Tensor,
    group: number,
  ): Promise<void> {
    requireBackward(ticket, gradients, group);
    requireChunk(chunk);
    if (this.#frozen)
      throw new GradCacheError(
        'INPUT',
        'every parameter of this encoder is frozen: leave out the second pass of its chunks, as their `frozen` says',
      );
    const weights = this.#weights.get(ticket);
    this.#requireWeights(weights);
    await this.#adding(async () => {
      if (ticket.graph === null) {
        await this.#withTokens(chunk, (batch, rows) =>
          this.#handle.backward(batch, rows, chunk.tokens, ticket.seed, gradients.handle, group),
        );
      } else {
        await backwardInGroup(ticket.graph, gradients, group);
        ticket.graph.dispose();
      }
    });
    this.#requireWeights(weights);
  }

  /** Runs a backward. */
  #adding<T>(run: () => Promise<T>): Promise<T> {
    return RowParameter.whileAdding(this.#tables, run);
  }

  /** Runs a pass over the rows of a chunk in its packed batch, or in a batch of these rows alone. */
  async #withTokens<T>(
    chunk: Chunk<TokenBatch>,
    run: (batch: TokenBatchHandle, rows: Int32Array) => Promise<T>,
  ): Promise<T> {
    const { batch, packed, rows } = chunk;
    if (packed !== undefined) {
      const handle = PackedTokens.handleOf(packed, batch);
      return guardedAsync(() => run(handle, rows));
    }
    const { ids, offsets, types, counted, skipped, unattended } = cut(chunk);
    const own = await guardedAsync(() =>
      this.#handle.batch(ids, offsets, rows, types, counted, skipped, unattended),
    );
    const all = rows.map((_, k) => k);
    try {
      return await guardedAsync(() => run(own, all));
    } finally {
      own.dispose();
    }
  }

  /** Gradients cached for representations of other weights would be silently wrong. A ticket made by hand names none. */
  #requireWeights(weights: number | undefined): void {
    if (weights === undefined || weights === guarded(() => this.#handle.version)) return;
    throw new GradCacheError(
      'INPUT',
      'the weights were changed between the two passes of a step, or during one: change them before the step or after it',
    );
  }
}
