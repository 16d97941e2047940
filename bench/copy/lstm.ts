import {
  call,
  noGrad,
  withSeed,
  type Parameter,
  type SegmentModule,
  type SegmentTensors,
  type State,
  type Tensor,
} from '../../lib/index.js';

/** Tokens, an LSTM of one layer, and a softmax over symbols. */
export class Lstm implements SegmentModule {
  readonly #weights: Readonly<Record<'input' | 'gates' | 'recurrent' | 'bias' | 'zero' | 'output', Tensor>>;
  readonly #width: number;

  constructor(vocabulary: number, width: number, symbols: number, seed: number, device: string) {
    const bound = 1 / Math.sqrt(width);
    const make = (shape: number[]) =>
      noGrad(() =>
        call('aten::rand', shape, { device })
          .mul(2 * bound)
          .sub(bound),
      );
    this.#width = width;
    this.#weights = withSeed(seed, () => ({
      input: make([vocabulary, 16]).mul(1 / bound),
      gates: make([4 * width, 16]),
      recurrent: make([4 * width, width]),
      bias: make([4 * width]),
      zero: call('aten::zeros', [4 * width], { device }),
      output: make([symbols, width]),
    }));
    for (const { tensor } of this.parameters()) tensor.requiresGrad = true;
  }

  initialState(rows: number): State {
    const { device } = this.#weights.output;
    return [0, 1].map(() => call('aten::zeros', [rows, this.#width], { device }));
  }

  forward({ inputs, targets }: SegmentTensors, state: State): { loss: Tensor; state: State } {
    const { input, gates, recurrent, bias, zero, output } = this.#weights;
    const x = call('aten::embedding', input, inputs);
    const before = state.map((slot) => call('aten::unsqueeze', slot, 0));
    const [y, ...after] = call<[Tensor, Tensor, Tensor]>(
      'aten::lstm.input',
      x,
      before,
      [gates, recurrent, bias, zero],
      true,
      1,
      0,
      true,
      false,
      true,
    );
    const logits = y.linear(output).reshape([-1, output.shape[0]!]);
    const loss = call('aten::cross_entropy_loss', logits, targets.reshape([-1]), null, 2, -1);
    return { loss, state: after.map((slot) => call('aten::squeeze.dim', slot, 0)) };
  }

  parameters(): Parameter[] {
    return Object.entries(this.#weights)
      .filter(([name]) => name !== 'zero')
      .map(([name, tensor]) => ({ name, tensor, decay: false }));
  }
}
