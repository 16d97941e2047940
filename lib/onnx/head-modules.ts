import { activation } from './activation.js';
import type { Builder } from './builder.js';
import type { Value } from './graph.js';
import type { Settings } from './settings.js';

/** What a row is divided by, at least, where it is normalised. */
const LEAST_NORM = 1e-12;
/** Of PyTorch's layer norm. */
const EPSILON = 1e-5;

/** Rows [batch, width] in float32 behind the modules of the settings (native/model/head_modules), and their width. */
export function behindModules(
  builder: Builder,
  pooled: Value,
  width: number,
  settings: Settings,
): { rows: Value; width: number } {
  let rows = pooled;
  let columns = width;
  for (const module of settings.list('modules')) {
    switch (module.text('kind')) {
      case 'dense':
        rows = dense(builder, rows, module);
        columns = module.number('outFeatures');
        break;
      case 'norm': {
        const parameter = (name: string) => builder.wide(`${module.text('name')}.${name}`, [columns]);
        rows = builder.op('LayerNormalization', [rows, parameter('weight'), parameter('bias')], {
          axis: -1,
          epsilon: { float: EPSILON },
        });
        break;
      }
      case 'normalize':
        rows = toLengthOne(builder, rows);
        break;
      case 'dropout': // in training alone
        break;
    }
  }
  return { rows, width: columns };
}

function dense(builder: Builder, x: Value, module: Settings): Value {
  const name = module.text('name');
  const [inner, outer] = [module.number('inFeatures'), module.number('outFeatures')];
  const times = (matrix: string, bias: readonly Value[]): Value =>
    builder.op('Gemm', [x, builder.wide(matrix, [outer, inner]), ...bias], { transB: 1 });
  const bias = module.truth('bias') ? [builder.wide(`${name}.bias`, [outer])] : [];
  const y = activation(builder.graph, times(`${name}.weight`, bias), module.text('activation'));
  if (!module.has('residual') || !module.truth('residual')) return y;
  return builder.op('Add', [y, inner === outer ? x : times(`${name}.residual.weight`, [])]);
}

function toLengthOne(builder: Builder, rows: Value): Value {
  const { graph } = builder;
  const length = graph.op('ReduceL2', [rows, graph.integers([1])]);
  return graph.op('Div', [rows, graph.op('Max', [length, graph.number(LEAST_NORM)])]);
}
