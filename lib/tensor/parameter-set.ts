import { GradCacheError } from '../errors.js';
import { GradientSnapshot } from './gradient-snapshot.js';
import { RowParameter, type RowGradient } from './row-parameter.js';
import { TensorList } from './tensor-list.js';
import type { Parameter, Tensor } from './tensor.js';

/** Who uses a tensor now. */
interface Work {
  /** Settles when the step that uses the tensor has ended. */
  step: Promise<void> | null;
  /** How many savers read its values. */
  readers: number;
  /** Whether an optimizer changes it. */
  updated: boolean;
}

/** Parameters that have a gradient: their tensors, and their gradients. */
export interface WithGradients<P extends Parameter = Parameter> {
  readonly parameters: readonly P[];
  readonly tensors: TensorList;
  readonly gradients: TensorList;
  /** Tables whose gradient is of rows: these are not among the above. */
  readonly tables: readonly TableWithGradient<P>[];
}

/** A table and the gradient of some of its rows. */
export interface TableWithGradient<P extends Parameter = Parameter> extends RowGradient {
  readonly parameter: P;
  readonly table: RowParameter;
}

/** Kept by tensor, because sets that share one must see each other's work. */
const works = new WeakMap<Tensor, Work>();

function workOn(tensor: Tensor): Work {
  let work = works.get(tensor);
  if (work === undefined) works.set(tensor, (work = { step: null, readers: 0, updated: false }));
  return work;
}

/**
 * Parameters with their gradients, and who uses them now.
 *
 * - A tensor is in the set once, at its first place and with its last name in the list.
 * - A caller's tensor has a gradient or none, and the caller may replace it. One of a native model ({@link ModelParameter})
 *   always has its part of the model's buffer. A table by rows ({@link RowParameter}) has a sparse one, or none.
 * - Sets that share a tensor exclude each other. A tensor is in at most one step, and an update has it alone.
 * - {@link ParameterSet.snapshot} puts back every gradient, and the absence of one.
 */
export class ParameterSet<P extends Parameter = Parameter> {
  readonly list: readonly P[];

  constructor(parameters: Iterable<P>) {
    const once = new Map([...parameters].map((parameter) => [parameter.tensor, parameter]));
    this.list = [...once.values()];
  }

  /** Runs `use` with those parameters that have a gradient. The lists are disposed at its end. */
  async withGradients<T>(use: (found: WithGradients<P>) => Promise<T>): Promise<T> {
    const dense = this.list.filter(({ tensor }) => !(tensor instanceof RowParameter));
    const all = TensorList.of(dense.map(({ tensor }) => tensor));
    const { places, gradients } = all.gradients();
    const tensors = all.select(places);
    const tables: TableWithGradient<P>[] = [];
    try {
      tables.push(...this.#tables());
      const parameters = Array.from(places, (place) => dense[place]!);
      return await use({ parameters, tensors, gradients, tables });
    } finally {
      for (const each of [all, tensors, gradients, ...tables]) each.dispose();
    }
  }

  #tables(): TableWithGradient<P>[] {
    return this.list.flatMap((parameter) => {
      const table = parameter.tensor;
      if (!(table instanceof RowParameter)) return [];
      const gradient = table.rowGradient();
      return gradient === null ? [] : [{ parameter, table, ...gradient }];
    });
  }

  /** The gradients as they are now; the caller disposes it. */
  snapshot(): Promise<GradientSnapshot> {
    return GradientSnapshot.take(this.list.map(({ tensor }) => tensor));
  }

  /**
   * Runs a step. Steps that share a parameter take turns: a step that fails restores the gradients of its beginning, and would
   * undo another's additions.
   *
   * @throws GradCacheError `INPUT` while an optimizer updates one of the parameters: a part of the chunks would meet other weights
   */
  async whileStepping<T>(run: () => Promise<T>): Promise<T> {
    const works = this.#works();
    refuseBesideUpdate(works);
    for (let before; (before = works.find(({ step }) => step !== null)) !== undefined;) await before.step;
    refuseBesideUpdate(works);
    let done!: () => void;
    const running = new Promise<void>((resolve) => (done = resolve));
    for (const work of works) work.step = running;
    try {
      return await run();
    } finally {
      for (const work of works) work.step = null;
      done();
    }
  }

  /**
   * Runs code that stores the parameters.
   *
   * @throws GradCacheError `INPUT` while an optimizer updates one of them: old and new values would be mixed
   */
  async whileReading<T>(run: () => Promise<T>): Promise<T> {
    const works = this.#works();
    refuseBesideUpdate(works);
    for (const work of works) work.readers++;
    try {
      return await run();
    } finally {
      for (const work of works) work.readers--;
    }
  }

  /**
   * Runs a change of the parameters or their gradients.
   *
   * @throws GradCacheError `INPUT` while a step, saving or another change of one of them runs
   */
  async whileUpdating<T>(run: () => Promise<T>): Promise<T> {
    const works = this.#works();
    if (works.some(({ step }) => step !== null))
      throw new GradCacheError('INPUT', 'gradcache.step() is still running: await it before the optimizer');
    if (works.some(({ readers }) => readers > 0))
      throw new GradCacheError('INPUT', 'save() or state() is still running: await it before the optimizer');
    if (works.some(({ updated }) => updated))
      throw new GradCacheError('INPUT', 'an optimizer is still at work on these parameters: await it first');
    for (const work of works) work.updated = true;
    try {
      return await run();
    } finally {
      for (const work of works) work.updated = false;
    }
  }

  #works(): Work[] {
    return this.list.map(({ tensor }) => workOn(tensor));
  }
}

function refuseBesideUpdate(works: readonly Work[]): void {
  if (works.some(({ updated }) => updated))
    throw new GradCacheError('INPUT', 'optimizer.step() is still running: await it first');
}
