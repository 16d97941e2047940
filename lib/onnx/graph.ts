import { toHalf } from '../tensor/half.js';
import { float32, integer, message, text, type Bytes } from './wire.js';

/** The name of a value in a graph: an input, a constant, or what an operator gives. */
export type Value = string;

/** A type of elements, with its number in ONNX and the bytes of an element. */
export const ELEMENTS = {
  float32: { number: 1, size: 4 },
  uint8: { number: 2, size: 1 },
  int64: { number: 7, size: 8 },
  bool: { number: 9, size: 1 },
  float16: { number: 10, size: 2 },
} as const;
export type ElementType = keyof typeof ELEMENTS;

/** A constant of a graph, whose bytes may be read when they are written. */
export interface Constant {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly bytes: Bytes | (() => Promise<Bytes>);
}

/** An input or an output. A dimension of any length has a name. */
export interface Port {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly (number | string)[];
}

/** What an operator is told beside its inputs. A number without a fraction is one of its whole numbers. */
export type Attribute = number | { readonly float: number } | readonly number[] | { readonly graph: Bytes };

/** Numbers of the kinds of attributes in ONNX. */
const KIND = { float: 1, integer: 2, graph: 5, integers: 7 } as const;

/** Operators in the order in which they are computed, and their constants. */
export class Graph {
  readonly #nodes: Bytes[] = [];
  readonly #constants: Constant[];
  readonly #numbers: Map<string, Value>;
  readonly #count: { of: number };
  readonly #inputs: Port[] = [];
  readonly #outputs: Port[] = [];

  /** @param outer the graph that this one is the body of: constants are its, and its values can be used */
  constructor(outer?: Graph) {
    this.#constants = outer ? outer.#constants : [];
    this.#numbers = outer ? outer.#numbers : new Map<string, Value>();
    this.#count = outer ? outer.#count : { of: 0 };
  }

  get constants(): readonly Constant[] {
    return this.#constants;
  }

  input(name: string, type: ElementType, shape: Port['shape']): Value {
    if (!this.#inputs.some((input) => input.name === name)) this.#inputs.push({ name, type, shape });
    return name;
  }

  /** Gives a value to the outside under a name. */
  output(value: Value, name: string, type: ElementType, shape: Port['shape']): void {
    this.#node('Identity', [value], [name], {});
    this.#outputs.push({ name, type, shape });
  }

  constant(constant: Constant): Value {
    this.#constants.push(constant);
    return constant.name;
  }

  /** Whole numbers as a constant, of no dimension for a number alone. */
  integers(values: readonly number[] | number): Value {
    const list = typeof values === 'number' ? [values] : values;
    return this.#shared('int64', typeof values === 'number' ? [] : [list.length], list, () =>
      Buffer.from(BigInt64Array.from(list, BigInt).buffer),
    );
  }

  /** A number as a constant. */
  number(value: number, type: 'float32' | 'float16' = 'float32'): Value {
    return this.#shared(type, [], [value], () =>
      type === 'float16' ? float16Bytes(value) : Buffer.from(Float32Array.of(value).buffer),
    );
  }

  /** A number from 0 to 255 as a constant. */
  byte(value: number): Value {
    return this.#shared('uint8', [], [value], () => Uint8Array.of(value));
  }

  #shared(type: ElementType, shape: readonly number[], values: readonly number[], bytes: () => Bytes): Value {
    const key = `${type} ${shape.join()}: ${values.join()}`;
    let name = this.#numbers.get(key);
    if (name === undefined) {
      name = this.constant({ name: `constant_${this.#numbers.size}`, type, shape, bytes: bytes() });
      this.#numbers.set(key, name);
    }
    return name;
  }

  /** Applies an operator of ONNX, of which there is one output. An input that is left out is ''. */
  op(type: string, inputs: readonly Value[], attributes: Readonly<Record<string, Attribute>> = {}): Value {
    return this.ops(type, inputs, 1, attributes)[0]!;
  }

  /** Applies an operator that gives several values. */
  ops(
    type: string,
    inputs: readonly Value[],
    count: number,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): Value[] {
    const number = this.#count.of++;
    const outputs = Array.from({ length: count }, (_, place) =>
      count === 1 ? `${type}_${number}` : `${type}_${number}_${place}`,
    );
    this.#node(type, inputs, outputs, attributes);
    return outputs;
  }

  #node(
    type: string,
    inputs: readonly Value[],
    outputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute>>,
  ): void {
    const stated = Object.entries(attributes).map(([name, value]) => message(5, ...attribute(name, value)));
    const [first = ''] = outputs;
    this.#nodes.push(
      message(
        1,
        ...inputs.map((input) => text(1, input)),
        ...outputs.map((output) => text(2, output)),
        text(3, `node_${first}`),
        text(4, type),
        ...stated,
      ),
    );
  }

  /** The fields of a GraphProto without its constants. */
  fields(name: string): Bytes {
    return Buffer.concat([
      ...this.#nodes,
      text(2, name),
      ...this.#inputs.map((port) => message(11, portFields(port))),
      ...this.#outputs.map((port) => message(12, portFields(port))),
    ]);
  }
}

function attribute(name: string, value: Attribute): Bytes[] {
  const kind = (number: number) => integer(20, number);
  if (typeof value === 'number') return [text(1, name), integer(3, value), kind(KIND.integer)];
  if ('float' in value) return [text(1, name), float32(2, value.float), kind(KIND.float)];
  if ('graph' in value) return [text(1, name), message(6, value.graph), kind(KIND.graph)];
  return [text(1, name), ...value.map((each) => integer(8, each)), kind(KIND.integers)];
}

function portFields({ name, type, shape }: Port): Bytes {
  const dimensions = shape.map((each) =>
    message(1, typeof each === 'string' ? text(2, each) : integer(1, each)),
  );
  const tensor = [integer(1, ELEMENTS[type].number), message(2, ...dimensions)];
  return Buffer.concat([text(1, name), message(2, message(1, ...tensor))]);
}

/** Of half precision. */
const LARGEST = 65504;

/** The bytes of a number in half precision; one that is too large becomes the largest. */
function float16Bytes(value: number): Bytes {
  const within = Math.max(-LARGEST, Math.min(LARGEST, value));
  return Buffer.from(Uint16Array.of(toHalf(within)).buffer);
}
