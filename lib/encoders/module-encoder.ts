import { setImmediate } from 'node:timers/promises';
import { GradCacheError } from '../errors.js';
import { backwardInGroup, noGrad, withGrad, withSeed } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { takeRows } from '../tensor/rows.js';
import { requireParameterList } from '../tensor/parameter-list.js';
import { synchronous } from '../options/synchronous.js';
import { tidy } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import { requireBackward, requireChunk, requireForwardOptions } from '../step/chunk-checks.js';
import { requireCounts, totalOf } from '../step/packed-rows.js';
import type { Chunk, EncodedChunk, Encoder, ForwardOptions, ReplayTicket } from '../step/encoder.js';

/** A batch of tensors whose first dimensions agree: images, feature rows, several inputs side by side. */
export type TensorBatch = Tensor | readonly Tensor[] | Readonly<Record<string, Tensor>>;

/**
 * Several representations per row, such as one for each token of a text: `representations` [sum of counts, dimension], row
 * after row, and `counts`, how many each row has (at least one).
 */
export interface PackedRepresentations {
  /** All of them, row after row: [sum of counts, dimension]. */
  readonly representations: Tensor;
  /** How many each row has. */
  readonly counts: Int32Array;
}

/**
 * A user-defined encoder. `forward` takes the rows of one chunk, in the form of the whole batch, and returns
 * representations [rows, dimension], or always {@link PackedRepresentations}. It must be synchronous, and a row's result
 * must not depend on the other rows of the chunk (no batch norm). The second pass repeats dropout of libtorch's operators
 * exactly. If forward returns something else there, the step fails.
 */
export interface Module<Batch extends TensorBatch = Tensor> {
  /**
   * Encodes the rows of a chunk.
   *
   * @param mode `training` is false in {@link GradCache.lossOf}: leave out dropout then
   */
  forward(input: Batch, mode?: { readonly training: boolean }): Tensor | PackedRepresentations;
  /** The parameters that training changes. */
  parameters(): Parameter[];
  /** The layers whose representations `forward` puts side by side: see {@link adaptiveLayer}. Default: the last one alone. */
  readonly layers?: readonly number[] | undefined;
}

/**
 * Makes an encoder of a {@link Module}. Its forward runs on the JavaScript thread, one chunk per turn of the event loop;
 * backward runs on the engine.
 *
 * @example
 * ```ts
 * class Projection implements Module {
 *   readonly #weight = Tensor.from(new Float32Array(8 * 32).fill(0.1), { shape: [8, 32] });
 *   forward(features: Tensor): Tensor {
 *     return features.linear(this.#weight); // [rows, 32] to [rows, 8]
 *   }
 *   parameters(): Parameter[] {
 *     this.#weight.requiresGrad = true;
 *     return [{ name: 'weight', tensor: this.#weight, decay: true }];
 *   }
 * }
 * const encoder = new ModuleEncoder(new Projection());
 * ```
 */
export class ModuleEncoder<Batch extends TensorBatch = Tensor> implements Encoder<Batch> {
  readonly automaticChunk: {
    /** Rows of a chunk. */
    readonly sequences: number;
  } = { sequences: 256 };
  readonly #module: Module<Batch>;
  #batchDevice = 'cpu';
  /** The first of the parameters, as last listed (every step lists them); null: there are none. */
  #anyParameter: Tensor | null | undefined;
  /** Fingerprints of the first pass, for chunks that are encoded again. */
  readonly #first = new WeakMap<ReplayTicket, Fingerprint>();

  /** @throws GradCacheError `INPUT` when the object has no `forward` and `parameters` */
  constructor(module: Module<Batch>) {
    if (typeof module?.forward !== 'function' || typeof module.parameters !== 'function') {
      throw new GradCacheError('INPUT', 'an encoder needs the methods forward(input) and parameters()');
    }
    this.#module = module;
  }

  /** The device of the module's parameters; without parameters, that of its last batch. */
  get device(): string {
    if (this.#anyParameter === undefined) this.parameters();
    return this.#anyParameter?.device ?? this.#batchDevice;
  }

  get layers(): readonly number[] | undefined {
    return this.#module.layers;
  }

  lengths(batch: Batch): Int32Array {
    const tensors = partsOf(batch);
    const rows = tensors[0]!.shape[0];
    if (rows === undefined) throw noBatch();
    for (const tensor of tensors) {
      if (tensor.shape[0] !== rows) {
        throw new GradCacheError(
          'SHAPE',
          `inputs of one tower have ${rows} and ${tensor.shape[0] ?? 'no'} rows`,
        );
      }
    }
    if (rows === 0) throw new GradCacheError('INPUT', 'the batch is empty: its tensors have no row');
    this.#batchDevice = tensors[0]!.device;
    return new Int32Array(rows).fill(1);
  }

  truncated(): number {
    return 0;
  }

  graphBytes(): null {
    return null;
  }

  async forwardChunk(chunk: Chunk<Batch>, options: ForwardOptions): Promise<EncodedChunk> {
    requireChunk(chunk);
    requireForwardOptions(options);
    const { seed, retain = false, evaluation = false } = options;
    await setImmediate();
    // A forward may reach weights that parameters() does not list, such as another tower's. Only a graph shows this.
    const listed = this.parameters().some(({ tensor }) => tensor.requiresGrad);
    const { representations: result, counts } = this.#forward(chunk, seed, retain || !listed, !evaluation);
    const frozen = !listed && !result.requiresGrad;
    if (listed && retain) requireGraph(result);
    if (retain && !frozen)
      return { representations: result.detach(), counts, ticket: { seed, graph: result } };
    const representations = result.detach();
    result.dispose();
    const ticket = { seed, graph: null };
    if (!frozen) this.#first.set(ticket, await fingerprint(representations));
    return { representations, counts, ticket, frozen };
  }

  async backwardChunk(
    chunk: Chunk<Batch>,
    ticket: ReplayTicket,
    gradients: Tensor,
    group = 0,
    before?: (representations: Tensor) => Promise<void>,
  ): Promise<void> {
    requireChunk(chunk);
    requireBackward(ticket, gradients, group);
    if (ticket.graph === null) await setImmediate();
    const result = ticket.graph ?? this.#forward(chunk, ticket.seed, true).representations;
    try {
      requireGraph(result);
      const first = this.#first.get(ticket);
      // Backward itself refuses another shape.
      if (first !== undefined && result.shape[1] === gradients.shape[1])
        requireSame(first, await fingerprint(result));
      await before?.(result);
      await backwardInGroup(result, gradients, group);
    } finally {
      result.dispose();
    }
  }

  parameters(): Parameter[] {
    const parameters = requireParameterList('what parameters() returned', this.#module.parameters());
    this.#anyParameter = parameters[0]?.tensor ?? null;
    return parameters;
  }

  /** The gradients that there are. */
  gradients(): Tensor[] {
    return this.parameters().flatMap(({ tensor }) => tensor.grad ?? []);
  }

  #forward({ batch, rows }: Chunk<Batch>, seed: number, graph: boolean, training = true): Encoded {
    partsOf(batch);
    return tidy(() => {
      const input = selectRows(batch, rows);
      const mode = graph ? withGrad : noGrad;
      const result: unknown = withSeed(seed, () =>
        mode(() => synchronous('forward()', this.#module.forward(input, { training }) as unknown)),
      );
      return encodedFrom(result, rows.length);
    });
  }
}

/** A forward's result for a chunk; without counts, one representation per row. */
interface Encoded {
  readonly representations: Tensor;
  readonly counts?: Int32Array | undefined;
}

/** @throws GradCacheError `INPUT`, `SHAPE` for a wrong result of forward */
function encodedFrom(result: unknown, rows: number): Encoded {
  if (result instanceof Tensor) {
    requireMatrix(result, rows, rows);
    return { representations: result };
  }
  const { representations, counts } = (result ?? {}) as { representations?: unknown; counts?: unknown };
  if (!(representations instanceof Tensor))
    throw new GradCacheError('INPUT', 'forward() must return a Tensor, or { representations, counts }');
  requireCounts(counts, rows);
  requireMatrix(representations, totalOf(counts), rows);
  return { representations, counts: counts.slice() }; // the module may use its list again for the next chunk
}

function requireMatrix({ shape }: Tensor, count: number, rows: number): void {
  if (shape.length === 2 && shape[0] === count) return;
  throw new GradCacheError(
    'SHAPE',
    `forward() returned shape [${shape.join()}] for ${rows} rows, expected [${count}, dimension]`,
  );
}

function requireGraph(result: Tensor): void {
  if (result.requiresGrad) return;
  throw new GradCacheError(
    'INPUT',
    'forward() returned a tensor that depends on no parameter with requiresGrad',
  );
}

/** A projection of representations on one direction, and the sum of their magnitudes. */
type Fingerprint = readonly [projection: number, magnitude: number];

/** Far above differences of rounding, far below the difference that another dropout mask makes. */
const TOLERANCE = 1e-5;

async function fingerprint(representations: Tensor): Promise<Fingerprint> {
  const numbers = tidy(() =>
    noGrad(() => {
      const wide = representations.detach().to({ dtype: 'float64' }).reshape([-1]);
      const { dtype, device } = wide;
      // The direction must not repeat, nor be constant: the features of a layer norm sum to zero.
      const direction = call('aten::sin', call('aten::arange', wide.shape[0]!, { dtype, device }));
      return call('aten::stack', [wide.mul(direction).sum(), call('aten::abs', wide).sum()]);
    }),
  );
  try {
    return Array.from((await numbers.values()) as Float64Array) as [number, number];
  } finally {
    numbers.dispose();
  }
}

/** Gradients cached for other representations would be silently wrong. */
function requireSame([first, magnitude]: Fingerprint, [again]: Fingerprint): void {
  if (Math.abs(again - first) <= TOLERANCE * magnitude) return;
  throw new GradCacheError(
    'INPUT',
    'forward() gave other representations in the second pass than in the first: it must follow from its input, its ' +
      'parameters and the seed alone (no Math.random, and nothing that changes from call to call)',
  );
}

/** @throws GradCacheError `INPUT` unless it is a {@link TensorBatch} */
function partsOf(batch: TensorBatch): Tensor[] {
  if (batch instanceof Tensor) return [batch];
  const parts: unknown[] = typeof batch === 'object' && batch !== null ? Object.values(batch) : [];
  if (parts.length > 0 && parts.every((part) => part instanceof Tensor)) return parts;
  throw noBatch();
}

const noBatch = () =>
  new GradCacheError(
    'INPUT',
    'a batch is a tensor, or a list or object of tensors, with rows as the first dimension',
  );

function selectRows<Batch extends TensorBatch>(batch: Batch, rows: Int32Array): Batch {
  const select = (tensor: Tensor): Tensor => takeRows(tensor, rows);
  if (batch instanceof Tensor) return select(batch) as TensorBatch as Batch;
  if (Array.isArray(batch)) return batch.map(select) as readonly Tensor[] as Batch;
  return Object.fromEntries(Object.entries(batch).map(([name, tensor]) => [name, select(tensor)])) as Batch;
}
