import { activation } from './activation.js';
import type { Builder } from './builder.js';
import type { Value } from './graph.js';
import type { Settings } from './settings.js';

/** What a row is divided by, at least, where it is normalised. */
const LEAST_NORM = 1e-12;
/** Of PyTorch's layer norm. */
const EPSILON = 1e-5;

/**
 * Rows [.., width] in float32 behind the modules of a setting (native/model/head_modules), and their width.
 *
 * @param list the setting: what is behind the pooling, or in front of it
 */
export function behindModules(
  builder: Builder,
  pooled: Value,
  width: number,
  settings: Settings,
  list: 'modules' | 'tokenModules' = 'modules',
): { rows: Value; width: number } {
  let rows = pooled;
  let columns = width;
  for (const module of settings.list(list)) {
    switch (module.text('kind')) {
      case 'dense':
        rows = dense(builder, rows, module);
        columns = module.number('outFeatures');
        break;
      case 'norm': {
        const names = module.has('bias') && !module.truth('bias') ? ['weight'] : ['weight', 'bias'];
        const parameters = names.map((name) => builder.wide(`${module.text('name')}.${name}`, [columns]));
        rows = builder.op('LayerNormalization', [rows, ...parameters], {
          axis: -1,
          epsilon: { float: module.has('epsilon') ? module.number('epsilon') : EPSILON },
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
  const times = (matrix: string): Value => {
    const turned = builder.op('Transpose', [builder.wide(matrix, [outer, inner])], { perm: [1, 0] });
    return builder.op('MatMul', [x, turned]);
  };
  const product = times(`${name}.weight`);
  const sum = module.truth('bias')
    ? builder.op('Add', [product, builder.wide(`${name}.bias`, [outer])])
    : product;
  const y = activation(builder.graph, sum, module.text('activation'));
  if (!module.has('residual') || !module.truth('residual')) return y;
  return builder.op('Add', [y, inner === outer ? x : times(`${name}.residual.weight`)]);
}

function toLengthOne(builder: Builder, rows: Value): Value {
  const { graph } = builder;
  const length = graph.op('ReduceL2', [rows, graph.integers([1])]);
  return graph.op('Div', [rows, graph.op('Max', [length, graph.number(LEAST_NORM)])]);
}
