import type { Builder } from './builder.js';
import type { Value } from './graph.js';

/** How a norm over the last dimension is computed. */
export interface NormStyle {
  readonly epsilon: number;
  /** `'layer'`: less the mean, and by the deviation; `'root'`: by the root of the mean square alone. */
  readonly kind: 'layer' | 'root';
  /** Whether a layer norm has a bias. Default: it has. */
  readonly shift?: boolean;
  /** Added to the scale. */
  readonly offset?: number;
}

/** The norm of x [.., width], whose parameters are NAME.weight and NAME.bias. */
export function norm(builder: Builder, x: Value, name: string, width: number, style: NormStyle): Value {
  const { epsilon, kind, shift = true, offset = 0 } = style;
  const scale = `${name}.weight`;
  if (kind === 'root') return rootNorm(builder, x, scale, width, epsilon, offset);
  const bias = shift ? [builder.parameter(`${name}.bias`, [width])] : [];
  return builder.op('LayerNormalization', [x, builder.parameter(scale, [width]), ...bias], {
    axis: -1,
    epsilon: { float: epsilon },
  });
}

/** The squares are of float32: in half precision they would overflow. */
function rootNorm(
  builder: Builder,
  x: Value,
  scale: string,
  width: number,
  epsilon: number,
  offset: number,
): Value {
  const { graph } = builder;
  const wide = builder.type === 'float32' ? x : builder.cast(x, 'float32');
  const square = graph.op('ReduceMean', [graph.op('Pow', [wide, graph.number(2)]), graph.integers([-1])]);
  const root = graph.op('Sqrt', [graph.op('Add', [square, graph.number(epsilon)])]);
  const unit = graph.op('Div', [wide, root]);
  const back = builder.type === 'float32' ? unit : builder.cast(unit, 'float16');
  return graph.op('Mul', [back, builder.parameter(scale, [width], offset)]);
}
