import type { Parameter, Tensor } from '../tensor/tensor.js';
import type { FixedChunkSize } from './chunk-plan.js';

/** Some rows of one tower's batch, encoded together. */
export interface Chunk<Batch> {
  /** The batch that the rows are of. */
  readonly batch: Batch;
  /** Numbers of the rows in the batch, in the order in which their representations come out. */
  readonly rows: Int32Array;
  /** Sum of the rows' lengths: tokens for texts, rows for anything else. */
  readonly tokens: number;
  /** What {@link Encoder.pack} made of the batch; a chunk without it is packed by itself, in each of its passes. */
  readonly packed?: PackedBatch | undefined;
}

/** A batch made ready for its chunks, in a form of its encoder's own. */
export interface PackedBatch {
  /** Frees it. */
  dispose(): void;
}

/** What the second pass needs to repeat a chunk exactly: the seed of its dropout, and the first forward's graph if kept. */
export interface ReplayTicket {
  /** Seed of the chunk's dropout. */
  readonly seed: number;
  /** Representations with their graph; null if the chunk must be encoded again. */
  readonly graph: Tensor | null;
}

/** How a chunk is encoded in the first pass. */
export interface ForwardOptions {
  /** Seed of the chunk's dropout: a non-negative safe integer. */
  readonly seed: number;
  /** Keeps the graph in the ticket, so that the second pass does not encode the chunk again. */
  readonly retain?: boolean;
  /** Encodes as in evaluation, without dropout: there is no second pass. Default: false. */
  readonly evaluation?: boolean;
  /** Number of a group of chunks that are cancelled together; 0: no group. */
  readonly group?: number;
}

/** Representations of a chunk, without a graph, and the ticket to repeat it. */
export interface EncodedChunk {
  /** [rows, dimension]; with `counts` [sum of counts, dimension], row after row. */
  readonly representations: Tensor;
  /** Representations of each row, at least one. Default: one each. Either all chunks of an encoder have counts or none. */
  readonly counts?: Int32Array | undefined;
  /** What the second pass needs. */
  readonly ticket: ReplayTicket;
  /** True if the representations depend on nothing trainable; the chunk then has no second pass. Default: false. */
  readonly frozen?: boolean;
}

/** What is left of an encoded chunk whose representations are in their rows already. */
export type EncodedRows = Pick<EncodedChunk, 'ticket' | 'frozen'>;

/**
 * The passes of an encoder that itself puts representations into their places in one tensor for the whole batch, and takes
 * its gradients from there: nothing of a chunk passes through JavaScript. The chunks are packed.
 */
export interface RowPasses<Batch> {
  /** Room for so many representations, [representations, dimension]; the caller disposes it. */
  empty(representations: number): Tensor;
  /** How many representations each row of a batch has, row after row in that tensor. Absent: one each. */
  counts?(batch: Batch): Int32Array;
  /** As `forwardChunk`, into the places of `chunk.rows` in `target`, which `empty` made. */
  forward(chunk: Chunk<Batch>, options: ForwardOptions, target: Tensor): Promise<EncodedRows>;
  /**
   * As `backwardChunk`, from the places of `chunk.rows` in the gradients of the whole batch, which are like `target`.
   *
   * @param last whether no other backward adds to the parameters' gradients before the step ends
   */
  backward(
    chunk: Chunk<Batch>,
    ticket: ReplayTicket,
    gradients: Tensor,
    group: number,
    last?: boolean,
  ): Promise<void>;
  /** How far that last backward has come. Absent: that is known at its end. */
  readonly progress?: BackwardProgress;
}

/** How far a backward has come through the layers of an encoder, whose gradients lie in one buffer in the order of the layers. */
export interface BackwardProgress {
  /** Before the backward: nothing is final. */
  readonly reset: () => void;
  /** The element of the buffer from which on the backward adds nothing more. */
  readonly finalFrom: () => number;
}

/**
 * An encoder as the two-pass step sees it: {@link TextEncoder}, or {@link ModuleEncoder} around your own class.
 * `Batch` is one tower's input of one step.
 */
export interface Encoder<Batch = unknown> {
  /** Where the encoder lives: `'cpu'` or `'cuda:N'`. */
  readonly device: string;
  /**
   * True if chunks wait in the engine's queue for the earlier ones. Otherwise the second pass starts one chunk at a time,
   * so that at most one graph is alive.
   */
  readonly queues?: boolean;
  /** Length of a representation, if known in advance: `retain: 'auto'` then leaves memory for all of them. */
  readonly trainedDimension?: number | undefined;
  /**
   * The layers whose representations lie side by side in a row, the last layer first. Where there are several, the loss must
   * take them: see {@link adaptiveLayer}. Default: the last layer alone.
   */
  readonly layers?: readonly number[] | undefined;
  /** True if each token of a text has a representation: `retain: 'auto'` then leaves memory for as many. */
  readonly perToken?: boolean;
  /**
   * True if a row is sparse: it has a list of [value, column] for what is not 0, as `counts` of an encoded chunk say. The loss
   * must take such rows: see {@link splade}. Default: false.
   */
  readonly sparse?: boolean;
  /** The chunk size that `'auto'` begins with. */
  readonly automaticChunk: FixedChunkSize;
  /** The length of each row of a batch, which chunks by tokens count. @throws GradCacheError `INPUT`, `SHAPE` */
  lengths(batch: Batch): Int32Array;
  /** How many of a batch's rows were cut to the greatest length. */
  truncated(batch: Batch): number;
  /**
   * Makes a batch ready for its chunks. A step calls it once for each tower, gives the result to each chunk and disposes of
   * it at its end, also where the step fails. An encoder without it gets chunks with the batch alone.
   *
   * @throws GradCacheError `INPUT`, `SHAPE`
   */
  pack?(batch: Batch): Promise<PackedBatch | undefined>;
  /** Step 1 for one chunk: representations without a graph (Gao et al. 2021, 3.2). */
  forwardChunk(chunk: Chunk<Batch>, options: ForwardOptions): Promise<EncodedChunk>;
  /**
   * Step 3 for one chunk: encodes it again with the ticket's seed, or uses the ticket's graph, and runs backward from
   * `gradients`, which have the representations' shape. Parameter gradients add up. A graph can be used once.
   *
   * @param before an encoder whose backward may reach tensors outside `parameters()` awaits it with the chunk's
   * representations just before that backward: a step that fails then restores their gradients too
   */
  backwardChunk(
    chunk: Chunk<Batch>,
    ticket: ReplayTicket,
    gradients: Tensor,
    group?: number,
    before?: (representations: Tensor) => Promise<void>,
  ): Promise<void>;
  /** If there, a step uses them in place of `forwardChunk` and `backwardChunk`, which do the same. */
  readonly rowPasses?: RowPasses<Batch> | undefined;
  /** Bytes that keeping a chunk's graph would need; null if not known. */
  graphBytes(chunk: Chunk<Batch>): number | null;
  /** The parameters that training changes. */
  parameters(): Parameter[];
}

/** An encoder of any kind of batch. */
export type AnyEncoder = Encoder<never>;

/** Of each encoder the length of a representation in training, where it is known. */
export const lengthsOf = (encoders: readonly AnyEncoder[]): (number | undefined)[] =>
  encoders.map(({ trainedDimension }) => trainedDimension);

/** The batch type of an encoder; `unknown` for an encoder of any kind. */
type BatchOf<Any> = Any extends Encoder<infer Batch> ? ([Batch] extends [never] ? unknown : Batch) : never;

/** The batch type that every one of the encoders accepts. */
type CommonBatch<Any> = (Any extends AnyEncoder ? (batch: BatchOf<Any>) => void : never) extends (
  batch: infer Batch,
) => void
  ? Batch
  : never;

/** One batch for each tower in order, or a list of batches that every tower accepts; each may be a promise. */
export type StepInputs<Encoders extends readonly AnyEncoder[]> =
  | {
      readonly [Tower in keyof Encoders]: BatchOf<Encoders[Tower]> | PromiseLike<BatchOf<Encoders[Tower]>>;
    }
  | readonly (CommonBatch<Encoders[number]> | PromiseLike<CommonBatch<Encoders[number]>>)[];
