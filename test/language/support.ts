import {
  call,
  LanguageModel,
  noGrad,
  Tensor,
  withSeed,
  type NewLanguageModel,
  type Parameter,
  type Segment,
  type SegmentModule,
  type SegmentTensors,
  type State,
} from '../../lib/index.js';
import { Random } from '../../lib/data/random.js';

/** A tiny language model over an LSTM, in float64 unless said otherwise. */
export class TinyLanguageModel implements SegmentModule {
  readonly #embedding: Tensor;
  readonly #cell: Tensor[];
  readonly #output: Tensor;
  readonly #width: number;
  readonly #dropout: number;

  constructor({ vocabulary = 7, width = 5, dropout = 0, dtype = 'float64', seed = 1 } = {}) {
    this.#width = width;
    this.#dropout = dropout;
    const weights = withSeed(seed, () =>
      [
        [vocabulary, width],
        [4 * width, width],
        [4 * width, width],
        [4 * width],
        [4 * width],
        [vocabulary, width],
      ].map((shape) => noGrad(() => call('aten::randn', shape, { dtype }).mul(0.5))),
    );
    for (const weight of weights) weight.requiresGrad = true;
    this.#embedding = weights[0]!;
    this.#cell = weights.slice(1, 5);
    this.#output = weights[5]!;
  }

  initialState(rows: number): State {
    const { dtype } = this.#output;
    return [0, 1].map(() => call('aten::zeros', [rows, this.#width], { dtype }));
  }

  forward({ inputs, targets }: { inputs: Tensor; targets: Tensor }, [h, c]: State) {
    const drop = (x: Tensor) => (this.#dropout > 0 ? x.dropout(this.#dropout) : x);
    const x = drop(call('aten::embedding', this.#embedding, inputs));
    const state = [h!, c!].map((slot) => call('aten::unsqueeze', slot, 0));
    const [y, hn, cn] = call<[Tensor, Tensor, Tensor]>(
      'aten::lstm.input',
      x,
      state,
      this.#cell,
      true,
      1,
      0,
      true,
      false,
      true,
    );
    const logits = drop(y).linear(this.#output).reshape([-1, this.#output.shape[0]!]);
    const loss = call('aten::cross_entropy_loss', logits, targets.reshape([-1]), null, 2, -1);
    return { loss, state: [hn, cn].map((slot) => call('aten::squeeze.dim', slot, 0)) };
  }

  parameters(): Parameter[] {
    return [this.#embedding, ...this.#cell, this.#output].map((tensor, index) => ({
      name: `weight.${index}`,
      tensor,
      decay: false,
    }));
  }
}

/** Weights none of which is as it begins: SRU++ attends with a weight of 0 at first. */
export function movedModel(
  settings: NewLanguageModel,
  precision: 'float32' | 'float64' | 'bfloat16' = 'float32',
): LanguageModel {
  const model = LanguageModel.create(settings, { precision, seed: 3 });
  withSeed(4, () => {
    noGrad(() => {
      for (const { tensor } of model.parameters())
        call('aten::add_.Tensor', tensor, call('aten::randn_like', tensor), { alpha: 0.2 }).dispose();
    });
  });
  return model;
}

/** The elements of tensors as one list. */
export function numbersOf(tensors: readonly Tensor[]): number[] {
  return tensors.flatMap((tensor) => Array.from(tensor.valuesSync(), Number));
}

/** All gradients of a module as one list. */
export function gradientsOf(module: SegmentModule): number[] {
  return numbersOf(module.parameters().map(({ tensor }) => tensor.grad!));
}

/** Segments of random tokens for three rows, with the rows that end in each, and segments without targets. */
export function randomSegments(
  lengths: readonly number[],
  { ends = [] as readonly (readonly number[])[], silent = [] as readonly number[], seed = 1, rows = 3 } = {},
): Segment[] {
  const random = new Random(seed);
  let start = 0;
  return lengths.map((length, index) => {
    const draw = () => Int32Array.from({ length: rows * length }, () => random.below(7));
    const targets = silent.includes(index) ? new Int32Array(rows * length).fill(-1) : draw();
    const segment = { rows, inputs: draw(), targets, start, ...(ends[index] && { ends: ends[index] }) };
    start += length;
    return segment;
  });
}

/** The tokens of a segment as a module takes them. */
export function tensorsOf({ rows, inputs, targets }: Segment): SegmentTensors {
  const shape = [rows, inputs.length / rows];
  return {
    inputs: Tensor.from(inputs, { shape, dtype: 'int64' }),
    targets: Tensor.from(targets, { shape, dtype: 'int64' }),
  };
}

/** A state with the rows whose documents ended replaced by initial ones, in the graph. */
export function startedAnew(slot: Tensor, initial: Tensor, ends: readonly number[]): Tensor {
  const rows = slot.shape[0]!;
  const mask = Uint8Array.from({ length: rows }, (_, row) => (ends.includes(row) ? 1 : 0));
  return call('aten::where.self', Tensor.from(mask, { shape: [rows, 1], dtype: 'bool' }), initial, slot);
}
