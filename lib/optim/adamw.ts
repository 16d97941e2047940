import { types } from 'node:util';
import { refused, requireNumber } from '../options/option-values.js';
import { GradCacheError } from '../errors.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { checkKnown } from '../options/known-options.js';
import { call, callAsync } from '../tensor/operators.js';
import { whileReading, whileUpdating } from '../tensor/in-use.js';
import { untracked } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { Parameter } from '../tensor/tensor.js';
import { listOf, parametersOf, requireAlike, requireDense } from './parameters.js';
import { clipGradNorm, gradientsOf, groupAlike } from './clip.js';

/** Parameters that share settings. */
export interface ParameterGroup {
  readonly parameters: Iterable<Parameter>;
  /** Multiplies the optimizer's learning rate for this group. Default 1. */
  readonly lrScale?: number;
  /** Replaces the optimizer's `weightDecay` for this group's parameters whose `decay` is true. */
  readonly weightDecay?: number;
}

/** Settings of {@link AdamW}; the defaults are those of `torch.optim.AdamW`. */
export interface AdamWOptions {
  /** Learning rate. */
  readonly lr: number;
  /** Decay rates of the running mean and of the running mean of squares. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Added to the denominator. Default 1e-8. */
  readonly eps?: number;
  /** Decoupled weight decay of parameters whose `decay` is true (weights, not biases or norms). Default 0.01. */
  readonly weightDecay?: number;
  /** Gradients are scaled so that their global 2-norm is at most this. Default: no clipping. */
  readonly maxGradNorm?: number;
}

/** A parameter with its settings and its state. */
interface Slot extends Parameter {
  /** Its name in the stored state: unlike `name`, no two slots have the same. */
  readonly key: string;
  readonly lrScale: number;
  readonly weightDecay: number;
  /** Made at the first update of this parameter, on its device, with its element type. */
  state: State | null;
}

interface State {
  readonly mean: Tensor;
  readonly square: Tensor;
  readonly steps: Tensor;
}

/**
 * AdamW (Loshchilov and Hutter, 2019) with the fused kernel of ATen, on any device.
 *
 * ```ts
 * const optimizer = new AdamW(gradcache.parameters(), { lr: 2e-5, maxGradNorm: 1 });
 * await gradcache.step(inputs);
 * const { gradNorm } = await optimizer.step();
 * ```
 *
 * All work is off the event loop, and nothing is read back from the device but the norm of the gradients.
 */
export class AdamW {
  /** The learning rate of the next update; set it from a schedule. */
  lr: number;
  readonly #options: Required<Pick<AdamWOptions, 'betas' | 'eps'>> & { maxGradNorm: number };
  readonly #slots: Slot[];
  #disposed = false;

  /**
   * @param parameters what to update: `gradcache.parameters()`, `encoder.parameters()`, or groups with own settings
   * @throws GradCacheError `INPUT` for a setting out of range, no parameters, or a parameter given twice
   */
  constructor(parameters: Iterable<Parameter> | readonly ParameterGroup[], options: AdamWOptions) {
    checkKnown('AdamW', options, ['lr', 'betas', 'eps', 'weightDecay', 'maxGradNorm']);
    const { lr, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01, maxGradNorm = Infinity } = options;
    requireNumber('lr of AdamW', lr, { from: 0 });
    if (!isPairOfRates(betas))
      throw refused('betas of AdamW', betas, 'a list of two numbers from 0 up to, not including, 1');
    requireNumber('eps of AdamW', eps, { above: 0 });
    requireNumber('weightDecay of AdamW', weightDecay, { from: 0 });
    requireNumber('maxGradNorm of AdamW', maxGradNorm, { above: 0, infinite: true });
    this.lr = lr;
    this.#options = { betas: [betas[0], betas[1]], eps, maxGradNorm };
    this.#slots = slotsOf(toGroups(parameters), weightDecay);
  }

  /**
   * Clips the gradients, updates every parameter that has one, and sets the gradients to zero in place.
   *
   * @returns the global 2-norm of the gradients before clipping
   * @throws GradCacheError `NON_FINITE` when that norm is NaN or infinite (parameters, state and gradients are then as
   * before); `INPUT` when no parameter has a gradient. Those of encoders always have one, of zeros before a first step:
   * with them an update only decays weights.
   */
  async step(): Promise<{ gradNorm: number }> {
    requireNumber('lr of AdamW', this.lr, { from: 0 });
    if (this.#disposed) throw new GradCacheError('DISPOSED', 'this AdamW was disposed: its state is gone');
    return whileUpdating(this.#slots, () => this.#step());
  }

  async #step(): Promise<{ gradNorm: number }> {
    const found = gradientsOf(this.#slots);
    if (found.length === 0) {
      throw new GradCacheError(
        'INPUT',
        'No parameter has a gradient: call gradcache.step(…) before optimizer.step().',
      );
    }
    try {
      const slots = found.map(({ parameter }) => parameter);
      const gradients = found.map(({ gradient }) => gradient);
      requireAlike('gradient', slots, gradients);
      requireAlike(
        'state',
        slots,
        slots.map(({ state }) => state?.mean ?? null),
      );
      const gradNorm = await clipGradNorm(this.#slots, this.#options.maxGradNorm);
      // One fused call for parameters that share device, element type and settings.
      for (const alike of groupBy(found, ({ parameter: { tensor, lrScale, weightDecay } }) =>
        [tensor.device, tensor.dtype, lrScale, weightDecay].join(' '),
      )) {
        await this.#update(alike);
      }
      await clear(gradients);
      return { gradNorm };
    } finally {
      for (const { gradient } of found) gradient.dispose();
    }
  }

  /** Sets every gradient to zero in place: what `step` does after the update, for when an update is to be left out. */
  async zeroGrad(): Promise<void> {
    await whileUpdating(this.#slots, async () => {
      const gradients = gradientsOf(this.#slots).map(({ gradient }) => gradient);
      await clear(gradients);
      for (const gradient of gradients) gradient.dispose();
    });
  }

  /**
   * The state for a checkpoint, on the host: for each parameter updated so far `exp_avg.NAME`, `exp_avg_sq.NAME` and
   * `step.NAME`. The learning rate is not part of it: it follows from the schedule and the step.
   *
   * @throws GradCacheError `INPUT` while an update runs
   */
  async state(): Promise<Map<string, StoredTensor>> {
    return whileReading(this.#slots, async () => {
      const stored = new Map<string, StoredTensor>();
      for (const { key, state } of this.#slots) {
        if (state === null) continue;
        stored.set(`exp_avg.${key}`, await toStored(state.mean));
        stored.set(`exp_avg_sq.${key}`, await toStored(state.square));
        stored.set(`step.${key}`, await toStored(state.steps));
      }
      return stored;
    });
  }

  /**
   * Takes up the state that {@link AdamW.state} gave. Either all of it is taken or none.
   *
   * @throws GradCacheError `CHECKPOINT` when a tensor is missing, left over, or of another shape or element type
   */
  loadState(stored: ReadonlyMap<string, StoredTensor>): void {
    if (!types.isMap(stored)) throw refused('the state of AdamW', stored, 'the Map that state() gave');
    const left = new Set(stored.keys());
    const take = (name: string, like: Tensor | null): StoredTensor => {
      const tensor = stored.get(name);
      if (tensor === undefined)
        throw new GradCacheError('CHECKPOINT', `Optimizer state: ${name} is missing.`);
      if (!Array.isArray((tensor as Partial<StoredTensor> | null)?.shape))
        throw new GradCacheError('CHECKPOINT', `Optimizer state: ${name} is no stored tensor.`);
      const { shape, dtype } = like ?? { shape: [], dtype: 'float32' };
      if (tensor.shape.join() !== shape.join() || tensor.dtype !== dtype) {
        throw new GradCacheError(
          'CHECKPOINT',
          `Optimizer state: ${name} is ${tensor.dtype} [${tensor.shape.join(', ')}], ` +
            `its parameter needs ${dtype} [${shape.join(', ')}].`,
        );
      }
      left.delete(name);
      return tensor;
    };
    const found = this.#slots.map(({ key, tensor: like }) => {
      if (!stored.has(`step.${key}`)) return null; // never updated when the state was written
      return {
        mean: take(`exp_avg.${key}`, like),
        square: take(`exp_avg_sq.${key}`, like),
        steps: take(`step.${key}`, null),
      };
    });
    const [unknown] = left;
    if (unknown !== undefined) {
      throw new GradCacheError(
        'CHECKPOINT',
        `Optimizer state: ${unknown} belongs to no parameter of this optimizer.`,
      );
    }
    const made: Tensor[] = [];
    try {
      // All of it is made before any of it is taken: memory may run out.
      const states = this.#slots.map(({ tensor }, index) => {
        const state = found[index] ?? null;
        if (state === null) return null;
        const mean = momentFrom(state.mean, tensor);
        made.push(mean);
        const square = momentFrom(state.square, tensor);
        made.push(square);
        const steps = fromStored(state.steps, tensor.device);
        made.push(steps);
        return { mean, square, steps };
      });
      for (const [index, slot] of this.#slots.entries()) {
        disposeState(slot);
        slot.state = states[index] ?? null;
      }
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    }
  }

  /** Frees the state; the parameters stay. */
  dispose(): void {
    this.#disposed = true;
    this.#slots.forEach(disposeState);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async #update(found: readonly { parameter: Slot; gradient: Tensor }[]): Promise<void> {
    const { betas, eps } = this.#options;
    const [{ lrScale, weightDecay }] = found.map(({ parameter }) => parameter) as [Slot];
    const states = found.map(({ parameter: slot }) => (slot.state ??= freshState(slot.tensor)));
    const steps = states.map((state) => state.steps);
    await callAsync('aten::_foreach_add_.Scalar', steps, 1);
    await callAsync(
      'aten::_fused_adamw_',
      found.map(({ parameter }) => parameter.tensor),
      found.map(({ gradient }) => gradient),
      states.map((state) => state.mean),
      states.map((state) => state.square),
      [],
      steps,
      {
        lr: this.lr * lrScale,
        beta1: betas[0],
        beta2: betas[1],
        weight_decay: weightDecay,
        eps,
        amsgrad: false,
        maximize: false,
      },
    );
  }
}

function toGroups(given: Iterable<Parameter> | readonly ParameterGroup[]): ParameterGroup[] {
  const list = listOf('AdamW', given) as (Parameter | ParameterGroup)[];
  const isGroup = (item: Parameter | ParameterGroup): item is ParameterGroup =>
    typeof item === 'object' && item !== null && 'parameters' in item;
  if (list.every(isGroup)) return list;
  if (list.some(isGroup)) {
    throw new GradCacheError(
      'INPUT',
      'AdamW takes either parameters or groups of parameters, not both in one list.',
    );
  }
  return [{ parameters: list as Parameter[] }];
}

function slotsOf(groups: readonly ParameterGroup[], weightDecay: number): Slot[] {
  const slots: Slot[] = [];
  const seen = new Set<Tensor>();
  const names = new Map<string, number>();
  for (const group of groups) {
    checkKnown('a group of AdamW', group, ['parameters', 'lrScale', 'weightDecay']);
    const { lrScale = 1, weightDecay: groupDecay = weightDecay } = group;
    const parameters = parametersOf('a group of AdamW', group.parameters);
    requireDense(parameters);
    requireNumber('lrScale of a group', lrScale, { from: 0 });
    requireNumber('weightDecay of a group', groupDecay, { from: 0 });
    for (const parameter of parameters) {
      if (seen.has(parameter.tensor)) {
        throw new GradCacheError(
          'INPUT',
          `Parameter ${parameter.name} is given to AdamW twice; it would be updated twice.`,
        );
      }
      seen.add(parameter.tensor);
      // Two untied towers of one architecture have the same names: the second becomes NAME#2.
      const count = (names.get(parameter.name) ?? 0) + 1;
      names.set(parameter.name, count);
      const key = count === 1 ? parameter.name : `${parameter.name}#${count}`;
      const { name, tensor, decay } = parameter;
      slots.push({ name, tensor, decay, key, lrScale, weightDecay: decay ? groupDecay : 0, state: null });
    }
  }
  if (slots.length === 0) throw new GradCacheError('INPUT', 'AdamW was given no parameters.');
  return slots;
}

/** Zeros like the parameter, and the count of updates, which the fused kernel wants as a float32 scalar beside it. */
function freshState(like: Tensor): State {
  return untracked(() => {
    const mean = call('aten::zeros_like', like);
    const square = call('aten::zeros_like', like);
    const steps = Tensor.from(new Float32Array(1), { shape: [], device: like.device });
    return { mean, square, steps };
  });
}

function disposeState(slot: Slot): void {
  slot.state?.mean.dispose();
  slot.state?.square.dispose();
  slot.state?.steps.dispose();
  slot.state = null;
}

async function toStored(tensor: Tensor): Promise<StoredTensor> {
  return { dtype: tensor.dtype, shape: tensor.shape, bytes: await tensor.bytes() };
}

/** A moment lies in memory as its parameter does; what is stored goes row by row. */
function momentFrom(stored: StoredTensor, parameter: Tensor): Tensor {
  const rows = fromStored(stored, parameter.device);
  try {
    const moment = untracked(() => call('aten::empty_like', parameter));
    moment.copyFrom(rows);
    return moment;
  } finally {
    rows.dispose();
  }
}

function fromStored(stored: StoredTensor, device: string): Tensor {
  const { bytes, shape, dtype } = stored;
  return untracked(() => Tensor.fromBytes(bytes, { shape, dtype, device }));
}

async function clear(gradients: readonly Tensor[]): Promise<void> {
  for (const alike of groupAlike(gradients)) await callAsync('aten::_foreach_zero_', alike);
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return [...groups.values()];
}

function isPairOfRates(betas: unknown): betas is readonly [number, number] {
  return (
    Array.isArray(betas) &&
    betas.length === 2 &&
    betas.every((beta) => typeof beta === 'number' && beta >= 0 && beta < 1)
  );
}
