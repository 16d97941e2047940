/*
 * How a synthesiser learns (Jaderberg et al. 2017): from the state that a segment begins with it predicts the gradient of all
 * loss to come. Its target is what the backward of the segment brings there: the gradient of the segment's own loss, and
 * through the segment the gradient that was predicted, or found, at its end.
 */
import { AdamW } from '../optim/adamw.js';
import { drawSeed } from '../options/seeds.js';
import type { Ranks } from '../distributed/ranks.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { fromStored, toStored } from '../safetensors/stored-tensor.js';
import { backward, withGrad, withSeed } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { tidy, untracked } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { computed, disposeAll, rowMask, widthOf } from './carried.js';
import { rowsOfStored, storedOverRanks, type RowRange } from './rows-of-ranks.js';
import type { State } from './segment-model.js';
import { countsIn, partOf, requireNothingElse, sameAs, storedNumbers } from './stored-state.js';
import type { Synthesiser } from './synthesiser.js';
import { synthesiserFor, type SyntheticGradients } from './synthetic.js';
import type { Around } from './truncated.js';
import type { Walk } from './walk.js';

/** What a synthesiser did in a step. */
export interface Learnt {
  /** The squared error of its prediction, summed over a row, mean over rows and cuts; 0 where no state was handed on. */
  readonly loss: number;
}

/** A synthesiser with its optimizer and what it remembers of its calls. */
export class SynthesiserLearner {
  readonly settings: SyntheticGradients;
  readonly synthesiser: Synthesiser;
  readonly #optimizer: AdamW;
  /** What the next call reads; null before the first. */
  #memory: readonly Tensor[] | null = null;
  #calls = 0;

  /** Of the noise of each call. */
  readonly noiseSeed: number;

  /** @param initial a state of the model @param rank has noise of its own @throws GradCacheError `INPUT`, `SHAPE` */
  constructor(settings: SyntheticGradients, initial: State, rank = 0) {
    const { dtype, device } = initial[0]!;
    const predictions = settings.auxiliary > 0 ? 2 : 1;
    const shape = { width: widthOf(initial), predictions, dtype, device, seed: settings.seed } as const;
    this.settings = settings;
    this.noiseSeed = rank === 0 ? settings.seed : drawSeed('rank', settings.seed, rank);
    this.synthesiser = synthesiserFor(settings.synthesiser, shape);
    this.#optimizer = new AdamW(this.synthesiser.parameters(), { lr: settings.lr, weightDecay: 0 });
  }

  /** Begins to learn from a walk, whose seeds are the predictions times `factor`. */
  learn(walk: Walk, factor: number): Learning {
    const memory = this.#memory ?? untracked(() => this.synthesiser.initialMemory(walk.rows));
    return new Learning(this, walk, factor, memory, this.#calls);
  }

  /** Ends a walk: updates the synthesiser, and keeps what it remembers. */
  async update(learning: Learning): Promise<void> {
    const { cuts, calls } = learning;
    if (cuts > 0) await this.#optimizer.step();
    const memory = learning.takeMemory();
    if (memory !== this.#memory) disposeAll(this.#memory ?? []);
    this.#memory = memory;
    this.#calls = calls;
  }

  /** Forgets what a walk that failed has added. */
  async forget(): Promise<void> {
    await this.#optimizer.zeroGrad();
  }

  /** Forgets what it remembers of its calls; weights and optimizer stay. */
  reset(): void {
    disposeAll(this.#memory ?? []);
    this.#memory = null;
  }

  /** @param rows with a memory: of this rank, and of all */
  async state(
    ranks: Ranks | null,
    rows: { readonly own: number; readonly all: number },
  ): Promise<Map<string, StoredTensor>> {
    const stored = new Map<string, StoredTensor>();
    for (const { name, tensor } of this.synthesiser.parameters())
      stored.set(`weights.${name}`, await toStored(tensor));
    for (const [name, tensor] of await this.#optimizer.state()) stored.set(`optimizer.${name}`, tensor);
    const memory = this.#memory ?? [];
    const like = memory.length === 0 ? [] : this.#memoryLike(rows.all);
    for (const [place, tensor] of memory.entries())
      stored.set(`memory.${place}`, await storedOverRanks(ranks, tensor, rows.own, like[place]!.shape));
    stored.set('calls', storedNumbers([this.#calls]));
    return stored;
  }

  /** @param own of the rows, those of this rank @throws GradCacheError `CHECKPOINT`; nothing is changed then */
  loadState(stored: ReadonlyMap<string, StoredTensor>, rows: number, own: RowRange): void {
    const parameters = this.synthesiser.parameters();
    const weights = parameters.map(({ name, tensor }) => sameAs(stored, `weights.${name}`, tensor));
    const memory = this.#memoryIn(stored, rows, own);
    const [calls] = countsIn(stored, 'calls', 1);
    requireNothingElse(
      [...stored.keys()].filter((name) => !/^(weights|optimizer|memory)\./.test(name) && name !== 'calls'),
    );
    this.#optimizer.loadState(partOf(stored, 'optimizer.'));
    for (const [place, { tensor }] of parameters.entries()) {
      const values = fromStored(weights[place]!, tensor.device);
      tensor.copyFrom(values);
      values.dispose();
    }
    this.reset();
    this.#memory = memory;
    this.#calls = calls!;
  }

  #memoryIn(stored: ReadonlyMap<string, StoredTensor>, rows: number, own: RowRange): Tensor[] | null {
    if (partOf(stored, 'memory.').size === 0) return null;
    const found = this.#memoryLike(rows).map((like, place) => sameAs(stored, `memory.${place}`, like));
    return this.#memoryLike(own.to - own.from).map(({ shape, device }, place) =>
      fromStored(rowsOfStored(found[place]!, rows, own, shape), device),
    );
  }

  #memoryLike(rows: number): Pick<Tensor, 'dtype' | 'shape' | 'device'>[] {
    const made = untracked(() => this.synthesiser.initialMemory(rows));
    const like = made.map(({ dtype, shape, device }) => ({ dtype, shape, device }));
    disposeAll(made);
    return like;
  }

  dispose(): void {
    this.reset();
    this.#optimizer.dispose();
    if (this.synthesiser !== this.settings.synthesiser)
      disposeAll(this.synthesiser.parameters().map(({ tensor }) => tensor));
  }
}

/** A synthesiser over one walk, segment after segment. */
export class Learning implements Around {
  readonly #learner: SynthesiserLearner;
  readonly #walk: Walk;
  readonly #factor: number;
  readonly #width: number;
  #memory: readonly Tensor[];
  readonly #ownMemory: readonly Tensor[];
  /** What was predicted for the state before the segment at hand, in a graph. */
  #asked: Tensor | null = null;
  /** What is predicted for the state behind the segment at hand: zeros in rows that end. */
  #ahead: Tensor | null = null;
  readonly #errors: Tensor[] = [];
  calls: number;

  constructor(
    learner: SynthesiserLearner,
    walk: Walk,
    factor: number,
    memory: readonly Tensor[],
    calls: number,
  ) {
    this.#learner = learner;
    this.#walk = walk;
    this.#factor = factor;
    this.#width = learner.synthesiser.width;
    this.#memory = this.#ownMemory = memory;
    this.calls = calls;
  }

  /** How many cuts were learnt from. */
  get cuts(): number {
    return this.#errors.length;
  }

  begin(_: number, before: State): Promise<void> {
    const { predictions, memory } = this.#predict(before);
    this.#asked = predictions;
    if (this.#memory !== this.#ownMemory) disposeAll(this.#memory);
    this.#memory = memory;
    return Promise.resolve();
  }

  seed(index: number, after: State): Promise<State | null> {
    const { predictions, memory } = this.#predict(after);
    disposeAll(memory);
    const own = computed(() => predictions.detach().narrow(1, 0, this.#width));
    predictions.dispose();
    const [ahead] = this.#walk.back(index, [own]) as [Tensor];
    if (ahead !== own) own.dispose();
    this.#ahead = ahead;
    if (this.#factor === 0) return Promise.resolve(null);
    return Promise.resolve(computed(() => apart(ahead.mul(this.#factor * this.#walk.weight), after)));
  }

  /** The gradient at the prediction is 2 (prediction - target) / rows, in rows that go on from the segment before. */
  async end(index: number, gradient: State): Promise<void> {
    const asked = this.#asked!;
    const goesOn = this.#walk.goesOn(index);
    const rows = this.#walk.goingOn(index);
    try {
      if (rows === 0) return;
      const { seed, error } = computed(() => {
        const prediction = asked.narrow(1, 0, this.#width);
        const target = beside(gradient).div(this.#walk.weight);
        const own = this.#error(prediction, target, goesOn);
        const seeds = [own];
        if (this.#learner.synthesiser.predictions === 2) {
          const next = asked.narrow(1, this.#width, this.#width);
          seeds.push(this.#error(next, this.#ahead!, goesOn).mul(this.#learner.settings.auxiliary));
        }
        return { seed: call('aten::cat', seeds, 1).mul(2 / rows), error: own.mul(own).sum().div(rows) };
      });
      try {
        await backward([asked], [seed]);
        this.#errors.push(error);
      } finally {
        seed.dispose();
      }
    } finally {
      this.#drop();
    }
  }

  /** The mean error, once the walk is over; over ranks this one's part of it. */
  async loss(): Promise<number> {
    if (this.#errors.length === 0) return 0;
    const mean = computed(() => call('aten::stack', this.#errors).mean());
    const [value] = await mean.values();
    disposeAll([mean, ...this.#errors]);
    return Number(value);
  }

  /** What the next call reads, which becomes the caller's. */
  takeMemory(): readonly Tensor[] {
    const memory = this.#memory;
    if (memory !== this.#ownMemory) this.#memory = [];
    return memory;
  }

  /** Frees what a walk that failed has left. */
  dispose(): void {
    this.#drop();
    if (this.#memory !== this.#ownMemory) disposeAll(this.#memory);
    disposeAll(this.#errors);
  }

  #drop(): void {
    this.#asked?.dispose();
    this.#ahead?.dispose();
    this.#asked = this.#ahead = null;
  }

  #error(prediction: Tensor, target: Tensor, goesOn: (row: number) => boolean): Tensor {
    const mask = rowMask(this.#walk.rows, (row) => !goesOn(row), target.device);
    return call('aten::masked_fill.Scalar', prediction.sub(target), mask, 0);
  }

  /** A prediction in a graph, and what the next call reads, cut off from it. */
  #predict(state: State): { predictions: Tensor; memory: Tensor[] } {
    const { noiseSeed } = this.#learner;
    const { noise } = this.#learner.settings;
    return untracked(() =>
      tidy(() =>
        withSeed(drawSeed('synthesiser', noiseSeed, this.calls++), () =>
          withGrad(() => {
            const input = beside(state);
            const seen = noise > 0 ? input.mul(call('aten::randn_like', input).mul(noise).add(1)) : input;
            const { predictions, memory } = this.#learner.synthesiser.predict(seen, this.#memory);
            return { predictions, memory: memory.map((tensor) => tensor.detach()) };
          }),
        ),
      ),
    );
  }
}

/** Slots side by side. */
function beside(state: State): Tensor {
  return call('aten::cat', state, 1);
}

/** Slots of the widths of a state, from those side by side. */
function apart(together: Tensor, like: State): Tensor[] {
  return call<Tensor[]>(
    'aten::split_with_sizes',
    together,
    like.map(({ shape }) => shape[1]!),
    1,
  );
}
