import { Graph, type Value } from './graph.js';
import type { Parameters } from './parameters.js';
import { convertedBytes, inEightBits, inType, transposed, ZERO, type Conversion } from './weights.js';

/** How weights are stored and computed with: `'int8'` is about matrices and word vectors, the rest then is float32. */
export type OnnxPrecision = 'float32' | 'float16' | 'int8';

/** A linear layer. */
export interface LinearNames {
  /** Of its matrix and its bias, without `.weight` and `.bias`. */
  readonly name: string;
  readonly bias: boolean;
}

/** Builds the graph of an encoder out of its parameters. */
export class Builder {
  readonly graph = new Graph();
  /** The type that layers compute in. What is behind them is computed in float32. */
  readonly type: 'float32' | 'float16';
  /** Token ids [batch, sequence]. */
  readonly ids: Value;
  /** bool [batch, sequence]: which of them are a text's. */
  readonly isToken: Value;
  /** int64 [batch, sequence]: a token's place in its text, from 0, wherever the padding is. */
  readonly places: Value;

  readonly #parameters: Parameters;
  readonly #precision: OnnxPrecision;
  readonly #constants = new Map<string, Value>();
  readonly #shared = new Map<string, Value>();
  readonly #rounded = new Map<Value, readonly Value[]>();

  constructor(parameters: Parameters, precision: OnnxPrecision) {
    this.#parameters = parameters;
    this.#precision = precision;
    this.type = precision === 'float16' ? 'float16' : 'float32';
    const { graph } = this;
    this.ids = graph.input('input_ids', 'int64', TOKENS);
    const mask = graph.input('attention_mask', 'int64', TOKENS);
    this.isToken = this.cast(mask, 'bool');
    const count = graph.op('CumSum', [mask, graph.integers(1)]);
    const place = graph.op('Sub', [count, graph.integers(1)]);
    this.places = graph.op('Max', [place, graph.integers(0)]);
  }

  /** The types of tokens, an input of models that know any but the first. */
  get types(): Value {
    return this.graph.input('token_type_ids', 'int64', TOKENS);
  }

  /** A value that several layers use. */
  once(key: string, make: () => Value): Value {
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const value = make();
    this.#shared.set(key, value);
    return value;
  }

  op: Graph['op'] = (...args) => this.graph.op(...args);

  /** A number in the type that layers compute in. */
  number(value: number): Value {
    return this.graph.number(value, this.type);
  }

  cast(value: Value, type: keyof typeof CASTS): Value {
    return this.op('Cast', [value], { to: CASTS[type] });
  }

  /** A parameter as it is, in the type that layers compute in. @param plus is added to it */
  parameter(name: string, shape: readonly number[], plus = 0): Value {
    const convert: Conversion = async (weight, calculate) =>
      inType(this.type)(plus === 0 ? weight : await calculate('aten::add.Scalar', weight, plus), calculate);
    return this.#constant(name, shape, this.type, convert);
  }

  /** A parameter in float32, for what is behind the layers. */
  wide(name: string, shape: readonly number[]): Value {
    return this.#constant(
      name,
      shape,
      'float32',
      inType('float32'),
      this.type === 'float32' ? '' : '.float32',
    );
  }

  #constant(
    name: string,
    shape: readonly number[],
    type: 'float32' | 'float16',
    convert: Conversion,
    suffix = '',
    stored = shape,
  ): Value {
    const known = this.#constants.get(name + suffix);
    if (known !== undefined) return known;
    const weight = this.#parameters.take(name, stored);
    const constant = { name: name + suffix, type, shape, bytes: () => convertedBytes(weight, convert) };
    this.#constants.set(name + suffix, constant.name);
    return this.graph.constant(constant);
  }

  /** Rows of a table [count, width], by their numbers. */
  rows(name: string, [count, width]: readonly [number, number], numbers: Value): Value {
    if (this.#precision !== 'int8') return this.op('Gather', [this.parameter(name, [count, width]), numbers]);
    const { values, scales } = this.#inEightBits(name, [count, width], 'rows');
    const whole = this.cast(this.op('Gather', [values, numbers]), 'float32');
    const rows = this.op('Sub', [whole, this.graph.number(ZERO)]);
    return this.op('Mul', [rows, this.op('Gather', [scales, numbers])]);
  }

  /** x [.., inner] times the transpose of a matrix [outer, inner], and a bias if there is one. */
  linear(x: Value, { name, bias }: LinearNames, outer: number, inner: number): Value {
    const product = this.#product(x, `${name}.weight`, outer, inner);
    return bias ? this.op('Add', [product, this.parameter(`${name}.bias`, [outer])]) : product;
  }

  #product(x: Value, name: string, outer: number, inner: number): Value {
    if (this.#precision === 'int8') {
      const matrix = this.#inEightBits(name, [outer, inner], 'columns');
      return this.#productInEightBits(x, matrix.values, matrix.scales);
    }
    const convert = transposed(inType(this.type));
    const shape = [inner, outer];
    return this.op('MatMul', [
      x,
      this.#constant(name, shape, this.type, convert, '.transposed', [outer, inner]),
    ]);
  }

  /** x [.., width] times the transpose of a table that {@link Builder.rows} has, [.., count]. */
  againstRows(x: Value, name: string, [count, width]: readonly [number, number]): Value {
    const turned = (table: Value): Value => this.op('Transpose', [table], { perm: [1, 0] });
    if (this.#precision !== 'int8')
      return this.op('MatMul', [x, turned(this.parameter(name, [count, width]))]);
    const { values, scales } = this.#inEightBits(name, [count, width], 'rows');
    const scale = this.op('Reshape', [scales, this.graph.integers([count])]);
    return this.#productInEightBits(x, turned(values), scale);
  }

  /** A matrix [rows, columns] in eight bits: its values, and its scales, [rows, 1] where it is stored by rows, else [rows]. */
  #inEightBits(
    name: string,
    [rows, columns]: readonly [number, number],
    order: 'rows' | 'columns',
  ): { values: Value; scales: Value } {
    const names = { values: `${name}.uint8`, scales: `${name}.scales` };
    if (this.#constants.has(names.values)) return names;
    this.#constants.set(names.values, names.values);
    const { values, scales } = inEightBits(this.#parameters.take(name, [rows, columns]), order);
    const shape = order === 'rows' ? [rows, columns] : [columns, rows];
    this.graph.constant({ name: names.values, type: 'uint8', shape, bytes: values });
    const ofScales = order === 'rows' ? [rows, 1] : [rows];
    this.graph.constant({ name: names.scales, type: 'float32', shape: ofScales, bytes: scales });
    return names;
  }

  #productInEightBits(x: Value, matrix: Value, scale: Value): Value {
    const [whole = '', size = '', zero = ''] = this.#roundedInput(x);
    const sums = this.cast(this.op('MatMulInteger', [whole, matrix, zero, this.graph.byte(ZERO)]), 'float32');
    return this.op('Mul', [sums, this.op('Mul', [size, scale])]);
  }

  /** x in eight bits, its scale and its zero. Products with the same input share them. */
  #roundedInput(x: Value): readonly Value[] {
    let rounded = this.#rounded.get(x);
    if (rounded === undefined) {
      rounded = this.graph.ops('DynamicQuantizeLinear', [x], 3);
      this.#rounded.set(x, rounded);
    }
    return rounded;
  }
}

const TOKENS = ['batch', 'sequence'];
/** Numbers of element types. */
const CASTS = { float32: 1, int64: 7, bool: 9, float16: 10 } as const;
