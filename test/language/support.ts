import type { Tensor } from '../../lib/index.js';
import { call, noGrad, withSeed, type Parameter, type SegmentModule, type State } from '../../lib/index.js';

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
