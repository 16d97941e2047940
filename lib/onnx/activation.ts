import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import type { Graph, Value } from './graph.js';

type Apply = (graph: Graph, x: Value, number: (value: number) => Value) => Value;

const gelu: Apply = (graph, x, number) => {
  const part = graph.op('Erf', [graph.op('Div', [x, number(Math.SQRT2)])]);
  return graph.op('Mul', [graph.op('Mul', [x, graph.op('Add', [part, number(1)])]), number(0.5)]);
};

const geluByTanh: Apply = (graph, x, number) => {
  const cube = graph.op('Mul', [graph.op('Mul', [x, x]), x]);
  const inner = graph.op('Add', [x, graph.op('Mul', [cube, number(0.044715)])]);
  const part = graph.op('Tanh', [graph.op('Mul', [inner, number(Math.sqrt(2 / Math.PI))])]);
  return graph.op('Mul', [graph.op('Mul', [x, graph.op('Add', [part, number(1)])]), number(0.5)]);
};

const silu: Apply = (graph, x) => graph.op('Mul', [x, graph.op('Sigmoid', [x])]);

/** The activations of layers and of dense layers behind the pooling, by their native names. */
const ACTIVATIONS: Readonly<Record<string, Apply>> = {
  identity: (_, x) => x,
  tanh: (graph, x) => graph.op('Tanh', [x]),
  relu: (graph, x) => graph.op('Relu', [x]),
  gelu,
  gelu_tanh: geluByTanh,
  silu,
  sigmoid: (graph, x) => graph.op('Sigmoid', [x]),
  mish: (graph, x) => graph.op('Mul', [x, graph.op('Tanh', [graph.op('Softplus', [x])])]),
  elu: (graph, x) => graph.op('Elu', [x]),
  celu: (graph, x) => graph.op('Celu', [x]),
  selu: (graph, x) => graph.op('Selu', [x]),
  leaky_relu: (graph, x) => graph.op('LeakyRelu', [x], { alpha: { float: 0.01 } }),
  relu6: (graph, x, number) => graph.op('Clip', [x, number(0), number(6)]),
  hardtanh: (graph, x, number) => graph.op('Clip', [x, number(-1), number(1)]),
  hardswish: (graph, x) => graph.op('HardSwish', [x]),
  hardsigmoid: (graph, x) => graph.op('HardSigmoid', [x], { alpha: { float: 1 / 6 }, beta: { float: 0.5 } }),
  hardshrink: (graph, x) => graph.op('Shrink', [x], { lambd: { float: 0.5 }, bias: { float: 0 } }),
  softshrink: (graph, x) => graph.op('Shrink', [x], { lambd: { float: 0.5 }, bias: { float: 0.5 } }),
  tanhshrink: (graph, x) => graph.op('Sub', [x, graph.op('Tanh', [x])]),
  softplus: (graph, x) => graph.op('Softplus', [x]),
  softsign: (graph, x) => graph.op('Softsign', [x]),
  logsigmoid: (graph, x) => graph.op('Neg', [graph.op('Softplus', [graph.op('Neg', [x])])]),
};

/**
 * An activation by its native name.
 *
 * @param type the type of x
 * @throws GradCacheError `INPUT` for one that is unknown
 */
export function activation(
  graph: Graph,
  x: Value,
  name: string,
  type: 'float32' | 'float16' = 'float32',
): Value {
  const apply = Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;
  if (apply === undefined)
    throw new GradCacheError('INPUT', `the activation ${show(name)} cannot be written as ONNX.`);
  return apply(graph, x, (value) => graph.number(value, type));
}
