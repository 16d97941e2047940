import type { Parameter, Tensor } from '../tensor/tensor.js';
import type { FixedChunkSize } from './chunk-plan.js';

/** Some rows of one tower's batch, encoded together. */
export interface Chunk<Batch> {
  readonly batch: Batch;
  /** Numbers of the rows in the batch, in the order in which their representations come out. */
  readonly rows: Int32Array;
  /** Sum of the rows' lengths: tokens for texts, rows for anything else. */
  readonly tokens: number;
}

/**
 * What the second pass needs to repeat a chunk exactly: the seed of its dropout, and the graph of its first forward
 * where that was kept.
 */
export interface ReplayTicket {
  readonly seed: number;
  /** Representations that still hang on their graph; null where the chunk is to be encoded again. */
  readonly graph: Tensor | null;
}

/** How a chunk is encoded in the first pass. */
export interface ForwardOptions {
  /** Seed of the chunk's dropout: a non-negative safe integer. */
  readonly seed: number;
  /** Keeps the graph in the ticket, so that the second pass does not encode the chunk again. */
  readonly retain?: boolean;
  /** Names chunks that are cancelled together; 0: none. */
  readonly group?: number;
}

/** Representations of a chunk, without a graph, and the ticket to repeat it. */
export interface EncodedChunk {
  /** [rows, dimension]; with `counts`, those of all rows one after the other, [sum of counts, dimension]. */
  readonly representations: Tensor;
  /**
   * How many representations each row has, at least one; where it is missing, one each. All chunks of an encoder give it,
   * or none does.
   */
  readonly counts?: Int32Array | undefined;
  readonly ticket: ReplayTicket;
  /** Whether they depend on nothing that requires a gradient: the chunk then has no second pass. Default: false. */
  readonly frozen?: boolean;
}

/**
 * An encoder as the two-pass step sees it: {@link TextEncoder}, or {@link ModuleEncoder} around a class of one's own.
 * `Batch` is what one tower takes for one step.
 */
export interface Encoder<Batch = unknown> {
  /** Where the encoder lives: `'cpu'` or `'cuda:N'`. */
  readonly device: string;
  /**
   * Whether chunks wait in the engine's queue for those before them. An encoder without it is given one chunk at a time in
   * the second pass, so that no more than one graph is alive.
   */
  readonly queues?: boolean;
  /** Length of a representation, where it is known before the first: memory for all of them is then left by `retain: 'auto'`. */
  readonly trainedDimension?: number | undefined;
  /** The chunk size that `'auto'` begins with. */
  readonly automaticChunk: FixedChunkSize;
  /** The length of each row of a batch, which chunks by tokens count. @throws GradCacheError `INPUT`, `SHAPE` */
  lengths(batch: Batch): Int32Array;
  /** How many of a batch's rows were cut to the greatest length. */
  truncated(batch: Batch): number;
  /** Step 1 for one chunk: representations without a graph (Gao et al. 2021, 3.2). */
  forwardChunk(chunk: Chunk<Batch>, options: ForwardOptions): Promise<EncodedChunk>;
  /**
   * Step 3 for one chunk: encodes it again as the ticket says and runs backward seeded with `gradients`, of the
   * representations' shape; parameter gradients add up. A ticket with a graph is used up by it.
   *
   * @param before to be awaited with the chunk's representations when their graph stands and its backward has not begun,
   * where that may reach tensors that `parameters()` does not name: a step that fails puts their gradients back
   */
  backwardChunk(
    chunk: Chunk<Batch>,
    ticket: ReplayTicket,
    gradients: Tensor,
    group?: number,
    before?: (representations: Tensor) => Promise<void>,
  ): Promise<void>;
  /** What keeping a chunk's graph would take, in bytes; null when that is not known. */
  graphBytes(chunk: Chunk<Batch>): number | null;
  /** The parameters that training changes. */
  parameters(): Parameter[];
}

/** An encoder of any kind of batch. */
export type AnyEncoder = Encoder<never>;

/** What an encoder takes for one step; of an encoder of any kind: unknown. */
type BatchOf<Any> = Any extends Encoder<infer Batch> ? ([Batch] extends [never] ? unknown : Batch) : never;

/** What every one of the encoders takes. */
type CommonBatch<Any> = (Any extends AnyEncoder ? (batch: BatchOf<Any>) => void : never) extends (
  batch: infer Batch,
) => void
  ? Batch
  : never;

/** One batch for each tower in its place, or a list of batches that any of the towers takes; or promises of them. */
export type StepInputs<Encoders extends readonly AnyEncoder[]> =
  | {
      readonly [Tower in keyof Encoders]: BatchOf<Encoders[Tower]> | PromiseLike<BatchOf<Encoders[Tower]>>;
    }
  | readonly (CommonBatch<Encoders[number]> | PromiseLike<CommonBatch<Encoders[number]>>)[];
