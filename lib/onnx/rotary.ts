import { GradCacheError } from '../errors.js';
import { call } from '../tensor/operators.js';
import { noGrad } from '../tensor/autograd.js';
import { tidy } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { Builder } from './builder.js';
import type { Value } from './graph.js';
import type { Settings } from './settings.js';

/** Cosines and sines [batch, 1, sequence, pairs] by which the pairs of features of a head are turned. */
export interface Rotation {
  readonly cosines: Value;
  readonly sines: Value;
  readonly pairs: number;
}

/** A rotary position embedding, from the settings that native/blocks/rotary_table reads. */
export function rotation(builder: Builder, settings: Settings): Rotation {
  const { graph } = builder;
  const pairs = settings.number('features') / 2;
  const frequencies = frequenciesOf(settings);
  const scale = settings.text('kind') === 'yarn' ? settings.number('attention') : 1;
  const constant = graph.constant({
    name: `frequencies_${graph.constants.length}`,
    type: 'float32',
    shape: [pairs],
    bytes: Buffer.from(frequencies.buffer),
  });
  const places = graph.op('Unsqueeze', [builder.cast(builder.places, 'float32'), graph.integers([1, 3])]);
  const angles = graph.op('Mul', [places, constant]);
  const part = (operator: 'Cos' | 'Sin'): Value => {
    const values = graph.op(operator, [angles]);
    const scaled = scale === 1 ? values : graph.op('Mul', [values, graph.number(scale)]);
    return builder.type === 'float32' ? scaled : builder.cast(scaled, 'float16');
  };
  return { cosines: part('Cos'), sines: part('Sin'), pairs };
}

/** Heads [batch, heads, sequence, size], turned: feature k with feature k + pairs. What is behind the pairs stays. */
export function turned(builder: Builder, heads: Value, size: number, rotation: Rotation): Value {
  const { cosines, sines, pairs } = rotation;
  const { graph } = builder;
  const rest = size - 2 * pairs;
  const sizes = graph.integers([pairs, pairs, ...(rest > 0 ? [rest] : [])]);
  const [first = '', second = '', ...others] = graph.ops('Split', [heads, sizes], rest > 0 ? 3 : 2, {
    axis: -1,
  });
  const by = (x: Value, y: Value): Value => graph.op('Mul', [x, y]);
  return graph.op(
    'Concat',
    [
      graph.op('Sub', [by(first, cosines), by(second, sines)]),
      graph.op('Add', [by(second, cosines), by(first, sines)]),
      ...others,
    ],
    { axis: -1 },
  );
}

/** As native/blocks/rotary_table finds them, in float32: at far positions a last bit of a frequency can be seen. */
function frequenciesOf(settings: Settings): Float32Array {
  const kind = settings.text('kind');
  const features = settings.number('features');
  const theta = settings.number('theta') * (kind === 'ntk' ? settings.number('factor') : 1);
  return tidy(() =>
    noGrad(() => {
      const exponents = Tensor.from(
        Array.from({ length: features / 2 }, (_, pair) => 2 * pair),
        { dtype: 'float32' },
      ).div(features);
      const usual = call('aten::reciprocal', call('aten::pow.Scalar', theta, exponents));
      const wanted = kind === 'default' ? usual : scaled(kind, usual, features, settings);
      return wanted.valuesSync() as Float32Array;
    }),
  );
}

function scaled(kind: string, usual: Tensor, features: number, settings: Settings): Tensor {
  switch (kind) {
    case 'linear':
      return usual.div(settings.number('factor'));
    case 'ntk':
      return usual.div(settings.number('factor') ** (2 / features));
    case 'llama3':
      return llama3(usual, settings);
    case 'yarn':
      return yarn(usual, features, settings);
    default:
      throw new GradCacheError('INPUT', `there is no rotary position embedding '${kind}'`);
  }
}

/** Long waves are stretched by the factor, short ones are not, those between in part (Llama 3.1). */
function llama3(usual: Tensor, settings: Settings): Tensor {
  const [factor, low, high, original] = ['factor', 'low', 'high', 'original'].map((name) =>
    settings.number(name),
  ) as [number, number, number, number];
  const waves = call('aten::reciprocal', usual).mul(2 * Math.PI);
  const smooth = call('aten::reciprocal', waves)
    .mul(original)
    .sub(low)
    .div(high - low);
  const mixed = smooth.neg().add(1).mul(usual.div(factor)).add(smooth.mul(usual));
  const long = call('aten::gt.Scalar', waves, original / low);
  const short = call('aten::lt.Scalar', waves, original / high);
  const stretched = call('aten::where.self', long, usual.div(factor), usual);
  return call('aten::where.self', call('aten::logical_or', short, long), stretched, mixed);
}

/** Peng et al. 2023, 3.2: a ramp over the dimensions between stretching and leaving alone. */
function yarn(usual: Tensor, features: number, settings: Settings): Tensor {
  const [theta, original] = [settings.number('theta'), settings.number('original')];
  const dimension = (rotations: number): number =>
    (features * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  let low = dimension(settings.number('fast'));
  let high = dimension(settings.number('slow'));
  if (settings.truth('whole')) [low, high] = [Math.floor(low), Math.ceil(high)];
  low = Math.max(low, 0);
  high = Math.min(high, features - 1);
  if (low === high) high += 0.001;
  const numbers = Tensor.from(
    Array.from({ length: features / 2 }, (_, pair) => pair),
    { dtype: 'float32' },
  );
  const ramp = call('aten::clamp', numbers.sub(low).div(high - low), 0, 1);
  return usual
    .div(settings.number('factor'))
    .mul(ramp)
    .add(usual.mul(ramp.neg().add(1)));
}
