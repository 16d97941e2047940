import { attend, byHead } from './attention.js';
import type { Builder } from './builder.js';
import { Graph, type Value } from './graph.js';
import { norm, type NormStyle } from './norm.js';

/** The projections of a layer of SRU++ (native/blocks/attentive_projection). */
export interface AttentiveOptions {
  /** Columns of the layer's input. */
  readonly inner: number;
  readonly outer: number;
  /** Columns that attention takes place in. */
  readonly width: number;
  readonly heads: number;
  readonly attends: boolean;
  readonly norm: NormStyle;
}

export function attentiveProjection(
  builder: Builder,
  x: Value,
  name: string,
  { inner, outer, width, heads, attends, norm: style }: AttentiveOptions,
): Value {
  let z = builder.linear(x, { name: `${name}.query`, bias: false }, width, inner);
  if (attends) {
    const both = builder.linear(z, { name: `${name}.key_value`, bias: false }, 2 * width, width);
    const parts = builder.graph.ops('Split', [both, builder.graph.integers([width, width])], 2, {
      axis: -1,
    });
    const size = width / heads;
    const [queries, keys, values] = [z, ...parts].map((part) => byHead(builder, part, heads, size)) as [
      Value,
      Value,
      Value,
    ];
    const form = { heads, keyHeads: heads, size, scale: size ** -0.5 };
    const attended = attend(builder, { queries, keys, values }, form);
    z = builder.op('Add', [z, builder.op('Mul', [attended, builder.parameter(`${name}.alpha`, [1])])]);
  }
  const normed = norm(builder, z, `${name}.attention_norm`, width, style);
  return builder.linear(normed, { name: `${name}.projection`, bias: false }, outer, width);
}

/** The cells of a layer of SRU (native/blocks/sru_cell). */
export interface RecurrenceOptions {
  /** Columns of the output, those of both directions together. */
  readonly width: number;
  /** Blocks of columns that each direction has in the projections: 4 where the skip has one of its own. */
  readonly blocks: 3 | 4;
  readonly bothWays: boolean;
  /** What the input is multiplied by where it is added to the output. */
  readonly skipScale: number;
}

/**
 * The outputs [batch, sequence, width] of cells. Padding leaves a cell as it is, so that it may be at either end.
 *
 * @param projections [batch, sequence, blocks * width]
 * @param x the layer's input
 */
export function recurrence(
  builder: Builder,
  projections: Value,
  x: Value,
  name: string,
  { width, blocks, bothWays, skipScale }: RecurrenceOptions,
): Value {
  const directions = bothWays ? 2 : 1;
  const own = width / directions;
  const apart = (value: Value, parts: number): Value[] => {
    if (parts === 1) return [value];
    const sizes = builder.graph.integers(Array.from({ length: parts }, () => own));
    return builder.graph.ops('Split', [value, sizes], parts, { axis: -1 });
  };
  const parameter = (kind: string): Value[] =>
    apart(builder.parameter(`${name}.${kind}`, [width]), directions);
  const parts = apart(projections, directions * blocks);
  const skips = blocks === 4 ? undefined : apart(x, directions);
  const [forgetWeights, forgetBias] = [parameter('forget.weight'), parameter('forget.bias')];
  const [resetWeights, resetBias] = [parameter('reset.weight'), parameter('reset.bias')];
  const outputs = Array.from({ length: directions }, (_, direction) => {
    const [candidate = '', forget = '', reset = '', fourth = ''] = parts.slice(direction * blocks);
    const biased = builder.op('Add', [forget, forgetBias[direction]!]);
    const { cells, before } = scan(builder, { candidate, forget: biased }, forgetWeights[direction]!, {
      own,
      reverse: direction === 1,
    });
    const across = builder.op('Mul', [before, resetWeights[direction]!]);
    const open = builder.op('Add', [builder.op('Add', [reset, across]), resetBias[direction]!]);
    const gate = builder.op('Sigmoid', [open]);
    const skip = skips?.[direction] ?? fourth;
    const scaled = skipScale === 1 ? skip : builder.op('Mul', [skip, builder.number(skipScale)]);
    return builder.op('Add', [builder.op('Mul', [gate, builder.op('Sub', [cells, scaled])]), scaled]);
  });
  return outputs.length === 1 ? outputs[0]! : builder.op('Concat', outputs, { axis: -1 });
}

/** The cell of each token and the one before it, [batch, sequence, own]. */
function scan(
  builder: Builder,
  { candidate, forget }: Readonly<Record<'candidate' | 'forget', Value>>,
  weight: Value,
  { own, reverse }: { readonly own: number; readonly reverse: boolean },
): { cells: Value; before: Value } {
  const { graph, type } = builder;
  const body = new Graph(graph);
  const unique = (part: string): string => `${part}_of_${candidate}`;
  const state = body.input(unique('state'), type, ['batch', own]);
  const one = body.input(unique('one'), type, ['batch', own]);
  const open = body.input(unique('open'), type, ['batch', own]);
  const isToken = body.input(unique('is_token'), 'bool', ['batch', 1]);
  const gate = body.op('Sigmoid', [body.op('Add', [open, body.op('Mul', [state, weight])])]);
  const moved = body.op('Add', [body.op('Mul', [body.op('Sub', [state, one]), gate]), one]);
  const next = body.op('Where', [isToken, moved, state]);
  body.output(next, unique('next'), type, ['batch', own]);
  body.output(next, unique('cell'), type, ['batch', own]);
  body.output(state, unique('before'), type, ['batch', own]);

  const rows = graph.op('Gather', [graph.op('Shape', [builder.ids]), graph.integers([0])]);
  const shape = graph.op('Concat', [rows, graph.integers([own])], { axis: 0 });
  const start = graph.op('Expand', [builder.number(0), shape]);
  const tokens = graph.op('Unsqueeze', [builder.isToken, graph.integers([2])]);
  const direction = reverse ? 1 : 0;
  const [, cells = '', before = ''] = graph.ops('Scan', [start, candidate, forget, tokens], 3, {
    body: { graph: body.fields('cell') },
    num_scan_inputs: 3,
    scan_input_axes: [1, 1, 1],
    scan_input_directions: [direction, direction, direction],
    scan_output_axes: [1, 1],
    scan_output_directions: [direction, direction],
  });
  return { cells, before };
}
