import type { GradientSnapshot } from '../tensor/gradient-snapshot.js';
import type { ParameterSet } from '../tensor/parameter-set.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Job } from './chunk-planner.js';
import type { Chunk, EncodedChunk } from './encoder.js';
import type { StepOptions, StepResult } from './gradcache-options.js';
import { besideChunks } from './out-of-memory.js';
import { RepresentationCache } from './representation-cache.js';

/** What the two passes over the chunks of a step share, and how a step that fails is undone. */
export class Pass {
  readonly jobs: readonly Job[];
  readonly options: StepOptions;
  readonly cache: RepresentationCache;
  /** By job, as far as the first pass has come: what it leaves of a chunk beside the representations in the cache. */
  readonly encoded: Omit<EncodedChunk, 'representations' | 'counts'>[] = [];
  /** What the step is about to do, as its result tells it. */
  readonly counts: Pick<StepResult, 'pairs' | 'sequences' | 'tokens' | 'chunks' | 'retained'>;
  /** The gradients before the step. */
  readonly #before: GradientSnapshot;

  private constructor(
    jobs: readonly Job[],
    lengths: readonly Int32Array[],
    options: StepOptions,
    before: GradientSnapshot,
  ) {
    const rows = lengths.map(({ length }) => length);
    this.jobs = jobs;
    this.options = options;
    this.cache = new RepresentationCache(rows);
    this.counts = {
      pairs: rows[0]!,
      sequences: rows.reduce((sum, count) => sum + count, 0),
      tokens: jobs.reduce((sum, { chunk }) => sum + chunk.tokens, 0),
      chunks: jobs.length,
      retained: jobs.filter(({ retain }) => retain).length,
    };
    this.#before = before;
  }

  /** @param lengths of the rows of each tower */
  static async begin(
    jobs: readonly Job[],
    lengths: readonly Int32Array[],
    parameters: ParameterSet,
    options: StepOptions,
  ): Promise<Pass> {
    return new Pass(jobs, lengths, options, await parameters.snapshot().catch(besideChunks));
  }

  /** To be awaited before a backward from `root`, which may reach tensors that no list of parameters names. */
  async beforeBackward(root: Tensor): Promise<void> {
    await this.#before.addBelow(root).catch(besideChunks);
  }

  /** Tells the caller of each chunk of a phase that is done. */
  progress(phase: 'forward' | 'backward', jobs: readonly Job[]): (done: Chunk<never>) => void {
    let chunk = 0;
    let rows = 0;
    let tokens = 0;
    return (done) => {
      rows += done.rows.length;
      tokens += done.tokens;
      this.options.onProgress?.({ phase, chunk: ++chunk, chunks: jobs.length, rows, tokens });
    };
  }

  /** Puts the gradients back as they were before the step. */
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
