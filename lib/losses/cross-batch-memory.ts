import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireBoolean, requireCount } from '../options/option-values.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { call } from '../tensor/operators.js';
import { untracked } from '../tensor/scope.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import { labelsOf } from './labels.js';
import {
  allTrained,
  requireCheckable,
  requireLoss,
  requireTowers,
  withGradients,
  type Loss,
  type LossGradients,
  type LossOptions,
  type LossShare,
  type LossWithGradients,
} from './loss.js';
import {
  idsOf,
  NO_ROWS,
  rowsAt,
  rowsFromStored,
  rowsWithoutIds,
  storedRows,
  withBatch,
  type BatchRows,
  type MemoryRows,
} from './memory-rows.js';
import { joinOptionsAround } from './shared-options.js';

/** Settings of {@link crossBatchMemory}. */
export interface CrossBatchMemoryOptions {
  /** The most representations that are kept. The oldest go first, one by one. */
  readonly capacity: number;
  /** How many batches go by before the first is kept: representations drift fast at the beginning. Default 0. */
  readonly start?: number;
  /** The tower whose representations are kept. Default: 1, the positives; 0 if there is only one. */
  readonly tower?: number;
  /**
   * Whether that tower is one of the loss itself. False for a tower whose encoder is a {@link MomentumEncoder}: the loss
   * does not see its representations of this batch, and the memory keeps them instead of the trained encoder's. Default true.
   */
  readonly joins?: boolean;
  /**
   * Whether `ids` go on to the loss, where it takes them: rows of the batch that share one are then no negatives of each other
   * either. False: they are for the memory alone. Default true.
   */
  readonly passIds?: boolean;
}

/** What {@link crossBatchMemory} returns. */
export interface CrossBatchMemory extends LossWithGradients {
  /** How many representations it holds. */
  readonly size: number;
  /** The representations [size, dimension], oldest first, as a copy; null if there are none. */
  rows(): Tensor | null;
  /**
   * How many of them are to join the loss of a batch: those that share no identity with it.
   *
   * @param ids as `step` takes them
   * @throws GradCacheError `INPUT`
   */
  joining(ids: readonly unknown[]): number;
  /** All that it holds, for a checkpoint. */
  state(): Promise<Map<string, StoredTensor>>;
  /** Goes on from a state. @throws GradCacheError `CHECKPOINT` for one that does not fit */
  loadState(state: ReadonlyMap<string, StoredTensor>): void;
  /** Frees the representations. */
  dispose(): void;
}

/**
 * Cross-batch memory (Wang et al. 2020): adds the representations of earlier batches to a loss, as constants. They drift
 * slowly in training, so that thousands of them cost no encoding.
 *
 * The rows that are kept join the loss as one more tower, behind the others. For {@link infoNCE}, {@link sigLIP} and
 * {@link ntXent} they are candidates that belong to no anchor, and no option names them: `owners` are those of the batch's
 * hard negatives. A loss function gets them as one more tensor before its
 * keyword arguments, [0, dimension] while there are none.
 *
 * `step(inputs, { loss: { ids, labels, … } })`, each with one entry for each row of the tower that is kept:
 * - `ids`: what identifies the example, a string, a whole number from 0, or a list of them. A row of the memory that shares
 *   an identity with the batch is left out of its loss: it is an old copy of something that the batch holds, and would be
 *   its example's negative. Identities say this exactly. A similarity near 1 does not: dropout and drift keep copies of one
 *   text below it, and texts with the same meaning come above. Without `ids` no row is left out. They go on to a loss that
 *   takes them, like {@link infoNCE}, unless `passIds` is false.
 * - `labels`: classes, for a loss that takes them, like {@link pairWeighting}. The loss gets those of the memory's rows
 *   behind those of the batch.
 *
 * A batch is kept after its loss. A step that fails leaves the memory as it was.
 *
 * @param loss any loss; its keyword arguments pass through
 * @throws GradCacheError `INPUT` for a wrong option; at the step also `SHAPE`, `DTYPE` for representations unlike those kept
 * @example
 * ```ts
 * const loss = crossBatchMemory(infoNCE(), { capacity: 4096 }); // positives of earlier batches are negatives too
 * const gradcache = new GradCache({ encoders: [model, model], loss });
 * ```
 */
export function crossBatchMemory(loss: Loss, options: CrossBatchMemoryOptions): CrossBatchMemory {
  requireLoss(loss);
  checkKnown('crossBatchMemory', options, ['capacity', 'start', 'tower', 'joins', 'passIds']);
  const { capacity, start = 0, tower, joins = true, passIds = true } = options;
  requireCount('capacity', capacity, 1);
  requireCount('start', start, 0);
  if (tower !== undefined) requireCount('tower', tower, 0);
  requireBoolean('joins', joins);
  requireBoolean('passIds', passIds);
  return new Memory(loss, { capacity, start, tower, joins, passIds });
}

/** The keyword arguments of a step. */
interface Given {
  readonly ids: readonly (readonly number[])[];
  readonly labels: readonly number[] | null;
  /** Those of the loss, without labels. */
  readonly rest: LossOptions;
}

class Memory implements CrossBatchMemory {
  readonly takesIds = true;
  readonly takesSeed: boolean;
  readonly layers: LossWithGradients['layers'];
  readonly sharing: LossWithGradients['sharing'];
  readonly #loss: LossWithGradients;
  /** A function has the same number of arguments in every step. */
  readonly #always: boolean;
  readonly #capacity: number;
  readonly #start: number;
  readonly #tower: number | undefined;
  readonly #joins: boolean;
  readonly #passesIds: boolean;
  #kept = NO_ROWS;

  constructor(
    loss: Loss,
    how: {
      capacity: number;
      start: number;
      tower: number | undefined;
      joins: boolean;
      passIds: boolean;
    },
  ) {
    this.#loss = withGradients(loss);
    this.takesSeed = this.#loss.takesSeed === true;
    this.layers = this.#loss.layers;
    // All ranks keep the rows of all, so that a loss of rows of their own would not find its memory's.
    this.sharing = this.#loss.sharing === 'parts' ? 'parts' : 'whole';
    this.#always = typeof loss === 'function';
    this.#capacity = how.capacity;
    this.#start = how.start;
    this.#tower = how.tower;
    this.#joins = how.joins;
    this.#passesIds = how.passIds && this.#loss.takesIds === true;
  }

  get size(): number {
    return this.#kept.ids.length;
  }

  rows(): Tensor | null {
    return this.#kept.rows?.clone() ?? null;
  }

  joining(ids: readonly unknown[]): number {
    if (!Array.isArray(ids)) throw refused('ids', ids, 'a list');
    return rowsWithoutIds(this.#kept, idsOf(ids, ids.length)).length;
  }

  parameters(): Parameter[] {
    return this.#loss.parameters();
  }

  checkLengths(lengths: readonly (number | undefined)[]): void {
    this.#loss.checkLengths?.(lengths);
  }

  checkOptions(
    options: LossOptions,
    rows: readonly number[],
    lengths: readonly (number | undefined)[] = [],
  ): void {
    requireCheckable(options, rows);
    const tower = this.#towerAmong(rows.length);
    const given = this.#read(options, rows[tower]!);
    const others = rowsWithoutIds(this.#kept, given.ids);
    const joined = this.#joined(rows.length, tower);
    const towers = joined.map((place) => rows[place]!);
    const memory = this.#always || others.length > 0 ? [others.length] : [];
    this.#loss.checkOptions?.(
      this.#beside(given, towers, others),
      [...towers, ...memory],
      [...joined, ...memory.map(() => tower)].map((place) => lengths[place]),
    );
  }

  joinOptions(parts: readonly LossOptions[], rows: readonly (readonly number[])[]): LossOptions {
    return joinOptionsAround(this.#loss, ['ids', 'labels'], parts, rows);
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[] = allTrained(representations),
    share?: LossShare,
  ): Promise<LossGradients> {
    requireTowers(representations);
    const tower = this.#towerAmong(representations.length);
    const batch = representations[tower]!;
    this.#requireMatrix(batch, tower, trained[tower] === true);
    this.#matchTo(batch);
    const given = this.#read(options, batch.shape[0]!);
    const before = this.#kept;
    const others = rowsWithoutIds(before, given.ids);
    const rows = rowsAt(before, others);
    const constants = rows ?? (this.#always ? emptyLike(batch) : null);
    try {
      const joined = this.#joined(representations.length, tower);
      const towers = joined.map((place) => representations[place]!);
      const { loss, gradients, undo } = await this.#loss.compute(
        [...towers, ...(constants === null ? [] : [constants])],
        weight,
        this.#beside(
          given,
          towers.map(({ shape }) => shape[0] ?? 0),
          others,
        ),
        [...joined.map((place) => trained[place] === true), ...(constants === null ? [] : [false])],
        share,
      );
      if (constants !== null) gradients[joined.length]?.dispose();
      const after = this.#keep({ rows: batch, ids: given.ids, labels: given.labels });
      const own: (Tensor | null)[] = representations.map(() => null);
      for (const [place, of] of joined.entries()) own[of] = gradients[place] ?? null;
      return { loss, gradients: own, undo: this.#undo(before, after, undo) };
    } finally {
      constants?.dispose();
    }
  }

  state(): Promise<Map<string, StoredTensor>> {
    return storedRows(this.#kept);
  }

  loadState(state: ReadonlyMap<string, StoredTensor>): void {
    const rows = rowsFromStored(state, this.#capacity);
    this.dispose();
    this.#kept = rows;
  }

  dispose(): void {
    this.#kept.rows?.dispose();
    this.#kept = NO_ROWS;
  }

  /** The keyword arguments of a step. @throws GradCacheError `INPUT`, `SHAPE` */
  #read({ ids: givenIds, labels: givenLabels, ...rest }: LossOptions, rows: number): Given {
    const ids = idsOf(givenIds, rows);
    const labels = labelsOf(givenLabels, rows);
    requireSameKind(this.#kept, labels);
    const passed = this.#passesIds && givenIds !== undefined ? { ...rest, ids: givenIds } : rest;
    return { ids, labels, rest: passed };
  }

  /** The towers that are part of the loss. */
  #joined(count: number, tower: number): number[] {
    return Array.from({ length: count }, (_, place) => place).filter(
      (place) => this.#joins || place !== tower,
    );
  }

  /**
   * The keyword arguments of the loss, where rows of the memory come behind the towers of the batch.
   *
   * @param rows of each tower
   * @param others the numbers of the memory's rows
   */
  #beside({ rest, labels }: Given, rows: readonly number[], others: readonly number[]): LossOptions {
    const kept = this.#kept.labels;
    const options =
      labels === null ? rest : { ...rest, labels: [...labels, ...others.map((row) => kept![row]!)] };
    if (others.length === 0) return options;
    return this.#loss.optionsBeside?.(options, rows, others.length) ?? options;
  }

  #keep(batch: BatchRows): MemoryRows {
    const { steps } = this.#kept;
    const kept = steps < this.#start ? this.#kept : withBatch(this.#kept, batch, this.#capacity);
    this.#kept = { ...kept, steps: steps + 1 };
    return this.#kept;
  }

  /** The rows before a step are needed until it cannot fail any more. */
  #undo(before: MemoryRows, after: MemoryRows, inner: LossGradients['undo']): LossGradients['undo'] {
    let unused = before.rows === after.rows ? null : before.rows;
    return {
      restore: () => {
        if (this.#kept === after) {
          if (unused !== null || before.rows === null) unused = after.rows;
          this.#kept = before;
        }
        inner?.restore();
      },
      dispose: () => {
        unused?.dispose();
        inner?.dispose();
      },
    };
  }

  #towerAmong(count: number): number {
    const tower = this.#tower ?? Math.min(1, count - 1);
    if (tower >= 0 && tower < count) return tower;
    throw new GradCacheError(
      'INPUT',
      `the memory keeps tower ${Math.max(tower, 0)}, and the loss is given ${count} of them`,
    );
  }

  /** @throws GradCacheError `SHAPE`, `INPUT` unless the tower's representations can be kept */
  #requireMatrix({ shape }: Tensor, tower: number, trained: boolean): void {
    if (shape.length !== 2)
      throw new GradCacheError(
        'SHAPE',
        `tower ${tower} has shape [${shape.join()}], expected [rows, dimension]`,
      );
    if (!this.#joins && trained)
      throw new GradCacheError(
        'INPUT',
        `tower ${tower} is kept and is no part of the loss (joins: false), so its encoder would get no gradient: ` +
          'give it a MomentumEncoder, or another that trains nothing',
      );
  }

  /** @throws GradCacheError `SHAPE`, `DTYPE` */
  #matchTo(batch: Tensor): void {
    const { rows } = this.#kept;
    if (rows === null) return;
    for (const [code, kept, now] of [
      ['SHAPE', `dimension ${rows.shape[1]}`, `dimension ${batch.shape[1]}`],
      ['DTYPE', rows.dtype, batch.dtype],
    ] as const) {
      if (kept !== now)
        throw new GradCacheError(
          code,
          `the memory keeps representations of ${kept}, and the batch's are of ${now}: one memory is for one model`,
        );
    }
    if (rows.device === batch.device) return;
    this.#kept = { ...this.#kept, rows: untracked(() => rows.to({ device: batch.device })) };
    rows.dispose();
  }
}

/** @throws GradCacheError `INPUT` if some rows have labels and some have none */
function requireSameKind({ rows, labels: before }: MemoryRows, labels: readonly number[] | null): void {
  if (rows === null || (before === null) === (labels === null)) return;
  throw new GradCacheError(
    'INPUT',
    `the rows in memory have ${before === null ? 'no labels' : 'labels'}, and those of this batch ` +
      `${labels === null ? 'none' : 'have some'}: give them in every step, or in none`,
  );
}

const emptyLike = (batch: Tensor): Tensor =>
  untracked(() => call('aten::new_empty', batch, [0, batch.shape[1]!]));
