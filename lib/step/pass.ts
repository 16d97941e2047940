import type { LossWithGradients } from '../losses/loss.js';
import { tell } from '../options/synchronous.js';
import type { GradientSnapshot } from '../tensor/gradient-snapshot.js';
import type { ParameterSet } from '../tensor/parameter-set.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Job } from './chunk-planner.js';
import { judge, LossOfRows, type CountedAttempt } from './curation.js';
import type { Chunk, EncodedRows } from './encoder.js';
import type { StepResult } from './gradcache-options.js';
import { besideChunks } from './out-of-memory.js';
import type { PackedBatches } from './packed-batches.js';
import type { Curate } from './verdict.js';
import { RepresentationCache } from './representation-cache.js';

/** The state that the two passes of a step share. It also undoes a step that fails. */
export class Pass {
  readonly jobs: readonly Job[];
  readonly packed: PackedBatches;
  options: CountedAttempt;
  readonly cache: RepresentationCache;
  /** For each chunk that the first pass has encoded, its result without the representations. */
  readonly encoded: EncodedRows[] = [];
  /** The rows of each tower that the loss sees, where they are not all. */
  #kept: readonly Int32Array[] | null = null;
  readonly #counts: Pick<StepResult, 'pairs' | 'sequences' | 'tokens' | 'chunks' | 'retained'>;
  #trained: readonly (Job & EncodedRows)[] | undefined;
  /** The gradients before the step. */
  readonly #before: GradientSnapshot;

  private constructor(
    jobs: readonly Job[],
    lengths: readonly Int32Array[],
    packed: PackedBatches,
    options: CountedAttempt,
    before: GradientSnapshot,
  ) {
    const rows = lengths.map(({ length }) => length);
    this.jobs = jobs;
    this.packed = packed;
    this.options = options;
    this.cache = new RepresentationCache(rows);
    this.#counts = {
      pairs: rows[0]!,
      sequences: rows.reduce((sum, count) => sum + count, 0),
      tokens: jobs.reduce((sum, { chunk }) => sum + chunk.tokens, 0),
      chunks: jobs.length,
      retained: jobs.filter(({ retain }) => retain).length,
    };
    this.#before = before;
  }

  /**
   * @param lengths the lengths of each tower's rows
   * @param packed the batches, which are packed meanwhile
   */
  static async begin(
    jobs: readonly Job[],
    lengths: readonly Int32Array[],
    packed: Promise<PackedBatches>,
    parameters: ParameterSet,
    options: CountedAttempt,
  ): Promise<Pass> {
    const before = await parameters.snapshot().catch(besideChunks);
    try {
      return new Pass(jobs, lengths, await packed.catch(besideChunks), options, before);
    } catch (error) {
      before.dispose();
      throw error;
    }
  }

  /** The counts of the step's result. */
  get counts(): Omit<StepResult, 'loss' | 'milliseconds' | 'peakMemory'> {
    const { pairs: all } = this.#counts;
    const pairs = this.#kept?.[0]!.length ?? all;
    const { redrawn, truncated, retries } = this.options;
    return { ...this.#counts, pairs, leftOut: all - pairs, redrawn, truncated, retries };
  }

  /** Has the batch judged, once all chunks are encoded. @returns false if another batch is wanted */
  async judgedBy(curate: Curate | undefined): Promise<boolean> {
    const verdict = await judge(curate, this.cache, this.options);
    if (verdict === 'redraw') return false;
    if (verdict === null) return true;
    this.#kept = verdict.rows;
    this.options = { ...this.options, loss: verdict.loss };
    return true;
  }

  /** The loss of the rows that it is to see. */
  ofKept(loss: LossWithGradients): LossWithGradients {
    return this.#kept === null ? loss : new LossOfRows(loss, this.#kept);
  }

  /** The chunks that depend on something trainable and hold a row that the loss sees, once all are encoded. */
  trained(): readonly (Job & EncodedRows)[] {
    return (this.#trained ??= this.#findTrained());
  }

  #findTrained(): readonly (Job & EncodedRows)[] {
    const kept = this.#kept?.map((rows) => new Set(rows));
    return this.jobs
      .map((job, index) => ({ ...job, ...this.encoded[index]! }))
      .filter(({ frozen }) => frozen !== true)
      .filter(({ tower, chunk }) => kept === undefined || chunk.rows.some((row) => kept[tower]!.has(row)));
  }

  /** Await this before a backward from `root` that may reach tensors outside every `parameters()`. */
  async beforeBackward(root: Tensor): Promise<void> {
    await this.#before.addBelow(root).catch(besideChunks);
  }

  /** A function that reports each finished chunk of a phase to the caller. */
  progress(phase: 'forward' | 'backward', jobs: readonly Job[]): (done: Chunk<never>) => void {
    let chunk = 0;
    let rows = 0;
    let tokens = 0;
    return (done) => {
      rows += done.rows.length;
      tokens += done.tokens;
      tell('onProgress', this.options.onProgress, {
        phase,
        chunk: ++chunk,
        chunks: jobs.length,
        rows,
        tokens,
      });
    };
  }

  /** Restores the gradients. */
  undo(): void {
    this.#before.restore();
    this.cache.restore();
  }

  dispose(): void {
    for (const { ticket } of this.encoded) ticket.graph?.dispose();
    this.cache.dispose();
    this.#before.dispose();
  }
}
