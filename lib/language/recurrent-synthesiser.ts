import { requireCount, requireOneOf } from '../options/option-values.js';
import { drawSeed } from '../options/seeds.js';
import { call } from '../tensor/operators.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import { uniformParameter, type Synthesiser, type SynthesiserShape } from './synthesiser.js';

/** Settings of the recurrent network that predicts gradients (Shang and Zhang 2019). */
export interface RecurrentSettings {
  /** What it is. */
  readonly kind: 'recurrent';
  /**
   * What the network recurs over. `'segments'` (default): each coordinate of the state is a sequence of its own, a step for
   * each segment. `'coordinates'`: the coordinates of a row are one sequence, which begins with what the call before left.
   */
  readonly along?: 'segments' | 'coordinates';
  /** Default: `'lstm'`. */
  readonly cell?: 'lstm' | 'gru';
  /** Its width. Default 50. */
  readonly hidden?: number;
}

/** Gates of each cell. */
const GATES = { lstm: 4, gru: 3 } as const;

/** Weights begin uniform within this, as published. */
const BOUND = 0.1;

/**
 * A small recurrent network that sees a number of the state at a time, with the same weights for all of them: its size does
 * not depend on the model's. Its last layer begins as zeros, so that training begins as truncated training.
 */
export class RecurrentSynthesiser implements Synthesiser {
  readonly width: number;
  readonly predictions: 1 | 2;
  readonly #along: 'segments' | 'coordinates';
  readonly #cell: 'lstm' | 'gru';
  readonly #hidden: number;
  readonly #input: readonly Parameter[];
  readonly #recurrent: readonly Parameter[];
  readonly #output: readonly Parameter[];

  /** @throws GradCacheError `INPUT` */
  constructor(shape: SynthesiserShape, settings: Omit<RecurrentSettings, 'kind'>) {
    const { along = 'segments', cell = 'lstm', hidden = 50 } = settings;
    requireOneOf('along of a recurrent synthesiser', along, ['segments', 'coordinates']);
    requireOneOf('cell of a recurrent synthesiser', cell, ['lstm', 'gru']);
    requireCount('hidden of a recurrent synthesiser', hidden, 1);
    this.width = shape.width;
    this.predictions = shape.predictions;
    this.#along = along;
    this.#cell = cell;
    this.#hidden = hidden;
    let place = 0;
    const make = (name: string, extents: number[], bound = BOUND) =>
      uniformParameter(name, extents, bound, {
        ...shape,
        seed: drawSeed('synthesiser', shape.seed, place++),
      });
    const gates = GATES[cell] * hidden;
    this.#input = [make('input.weight', [hidden, 1]), make('input.bias', [hidden])];
    this.#recurrent = [
      make('recurrent.input_weight', [gates, hidden]),
      make('recurrent.hidden_weight', [gates, hidden]),
      make('recurrent.input_bias', [gates]),
      make('recurrent.hidden_bias', [gates]),
    ];
    this.#output = [
      make('output.weight', [shape.predictions, hidden], 0),
      make('output.bias', [shape.predictions], 0),
    ];
  }

  parameters(): Parameter[] {
    return [...this.#input, ...this.#recurrent, ...this.#output];
  }

  initialMemory(rows: number): Tensor[] {
    const sequences = this.#along === 'segments' ? rows * this.width : rows;
    const { dtype, device } = this.#input[0]!.tensor;
    const slots = this.#cell === 'lstm' ? 2 : 1;
    return Array.from({ length: slots }, () =>
      call('aten::zeros', [1, sequences, this.#hidden], { dtype, device }),
    );
  }

  predict(state: Tensor, memory: readonly Tensor[]): { predictions: Tensor; memory: Tensor[] } {
    const rows = state.shape[0]!;
    const [sequences, length] = this.#along === 'segments' ? [rows * this.width, 1] : [rows, this.width];
    const x = state.reshape([sequences, length, 1]);
    const [y, ...after] = this.#recur(x.linear(this.#input[0]!.tensor, this.#input[1]!.tensor), memory);
    const each = y!.linear(this.#output[0]!.tensor, this.#output[1]!.tensor);
    // [rows, width, predictions], then all of one prediction before those of the next.
    const predictions = each
      .reshape([rows, this.width, this.predictions])
      .transpose(1, 2)
      .reshape([rows, this.predictions * this.width]);
    return { predictions, memory: after };
  }

  #recur(x: Tensor, memory: readonly Tensor[]): Tensor[] {
    const weights = this.#recurrent.map(({ tensor }) => tensor);
    const lstm = this.#cell === 'lstm';
    const name = lstm ? 'aten::lstm.input' : 'aten::gru.input';
    return call<Tensor[]>(name, x, lstm ? memory : memory[0], weights, true, 1, 0, true, false, true);
  }
}
