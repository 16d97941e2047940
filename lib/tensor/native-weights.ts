import type { Initial, NativeParameter, TensorHandle } from '../addon/native.js';
import { noGrad, withSeed } from './autograd.js';
import { call } from './operators.js';
import { ModelParameter } from './model-parameter.js';
import { ParameterSet } from './parameter-set.js';
import { RowParameter } from './row-parameter.js';
import { untracked } from './scope.js';
import { Tensor, type Parameter } from './tensor.js';

/** The weights of a native model, and the buffer that holds all their gradients. */
export class NativeWeights {
  readonly parameters: ParameterSet;
  /** The parameters that are not frozen. */
  readonly trained: readonly Parameter[];
  readonly gradients: Tensor;
  readonly #initial: ReadonlyMap<string, Initial>;
  readonly #frozen: ReadonlySet<string>;

  constructor(model: { parameters(): NativeParameter[]; gradients(): TensorHandle }) {
    const gradients = untracked(() => new Tensor(model.gradients()));
    const declared = model.parameters();
    const all = untracked(() =>
      declared.map(({ name, tensor, decay, byRows }) => ({
        name,
        tensor: byRows ? new RowParameter(tensor) : new ModelParameter(tensor, gradients),
        decay,
      })),
    );
    this.gradients = gradients;
    this.parameters = new ParameterSet(all);
    this.trained = all.filter((_, place) => declared[place]!.trainable);
    this.#frozen = new Set(declared.flatMap(({ name, trainable }) => (trainable ? [] : [name])));
    this.#initial = new Map(declared.map(({ name, initial }) => [name, initial]));
  }

  /** Whether training leaves a parameter as it is. */
  isFrozen(name: string): boolean {
    return this.#frozen.has(name);
  }

  /**
   * Sets weights as they are before training. They must be 0 before.
   *
   * @param options.deviation standard deviation of the matrices of which the model does not say how they begin
   * @param isMeant which of the weights, by name; default: all
   */
  fillRandomly(
    { deviation, seed }: { readonly deviation: number; readonly seed: number },
    isMeant: (name: string) => boolean = () => true,
  ): void {
    withSeed(seed, () => {
      noGrad(() => {
        for (const { name, tensor } of this.parameters.list.filter((each) => isMeant(each.name)))
          fillWide(name, tensor, this.#initial.get(name) ?? null, deviation);
      });
    });
  }

  dispose(): void {
    for (const { tensor } of this.parameters.list) tensor.dispose();
    this.gradients.dispose();
  }
}

/** Random numbers do not depend on the type that a frozen weight is kept in. */
function fillWide(name: string, tensor: Tensor, initial: Initial, deviation: number): void {
  if (tensor.dtype !== 'bfloat16') return fill(name, tensor, initial, deviation);
  const wide = call('aten::zeros_like', tensor, { dtype: 'float32' });
  fill(name, wide, initial, deviation);
  tensor.copyFrom(wide);
  wide.dispose();
}

function fill(name: string, tensor: Tensor, initial: Initial, deviation: number): void {
  if (initial !== null && 'uniform' in initial)
    call('aten::uniform_', tensor, -initial.uniform, initial.uniform).dispose();
  else if (initial !== null) call('aten::fill_.Scalar', tensor, initial.constant).dispose();
  else if (tensor.shape.length > 1) call('aten::normal_', tensor, 0, deviation).dispose();
  else if (name.endsWith('.weight')) call('aten::fill_.Scalar', tensor, 1).dispose();
}
