import { activation } from './activation.js';
import { selfAttention, type AttentionNames, type AttentionOptions } from './attention.js';
import type { Builder } from './builder.js';
import type { Value } from './graph.js';
import { norm, type NormStyle } from './norm.js';

/** A layer's feed-forward part: a matrix, an activation or a gated one, and a matrix back. */
export interface FeedForwardOptions {
  readonly hidden: number;
  readonly intermediate: number;
  readonly activation: string;
  /** Whether the gate, to which the activation is applied, comes before what it is multiplied with, or behind; absent: no gate. */
  readonly gate?: 'first' | 'second' | undefined;
  readonly upBias: boolean;
  readonly downBias: boolean;
}

/** Names without `.weight` and `.bias`. */
export interface FeedForwardNames {
  /** With a gate: one matrix of both, or two in their order. */
  readonly up: readonly string[];
  readonly down: string;
}

function feedForward(
  builder: Builder,
  x: Value,
  { up, down }: FeedForwardNames,
  options: FeedForwardOptions,
): Value {
  const { hidden, intermediate, gate, upBias, downBias } = options;
  const apply = (value: Value): Value => activation(builder.graph, value, options.activation, builder.type);
  const linear = (name: string, width: number): Value =>
    builder.linear(x, { name, bias: upBias }, width, hidden);
  let inner: Value;
  if (gate === undefined) {
    inner = apply(linear(up[0]!, intermediate));
  } else {
    const [first = '', second = ''] =
      up.length > 1
        ? up.map((name) => linear(name, intermediate))
        : builder.graph.ops(
            'Split',
            [linear(up[0]!, 2 * intermediate), builder.graph.integers([intermediate, intermediate])],
            2,
            { axis: -1 },
          );
    const [open, other] = gate === 'first' ? [first, second] : [second, first];
    inner = builder.op('Mul', [apply(open), other]);
  }
  return builder.linear(inner, { name: down, bias: downBias }, hidden, intermediate);
}

export interface LayerOptions {
  readonly attention: AttentionOptions;
  readonly feedForward: FeedForwardOptions;
  readonly norm: NormStyle;
}

/** Names of a layer whose norms are behind its sums. */
export interface PostNormNames {
  readonly attention: AttentionNames;
  readonly attentionNorm: string;
  readonly feedForward: FeedForwardNames;
  readonly outputNorm: string;
}

/** The layer of BERT (native/blocks/post_norm_layer). */
export function postNormLayer(
  builder: Builder,
  x: Value,
  names: PostNormNames,
  { attention, feedForward: fed, norm: style }: LayerOptions,
): Value {
  const attended = selfAttention(builder, x, names.attention, attention);
  const sum = builder.op('Add', [attended, x]);
  const middle = norm(builder, sum, names.attentionNorm, attention.hidden, style);
  const output = builder.op('Add', [feedForward(builder, middle, names.feedForward, fed), middle]);
  return norm(builder, output, names.outputNorm, attention.hidden, style);
}

/** Names of a layer whose norms are in front of its parts; one that is absent is none. */
export interface PreNormNames {
  readonly attentionNorm?: string | undefined;
  readonly attention: AttentionNames;
  readonly attentionOutputNorm?: string | undefined;
  readonly feedForwardNorm: string;
  readonly feedForward: FeedForwardNames;
  readonly feedForwardOutputNorm?: string | undefined;
}

/** The layer of today's models (native/blocks/pre_norm_layer). */
export function preNormLayer(
  builder: Builder,
  x: Value,
  names: PreNormNames,
  { attention, feedForward: fed, norm: style }: LayerOptions,
): Value {
  const normed = (value: Value, name: string | undefined): Value =>
    name === undefined ? value : norm(builder, value, name, attention.hidden, style);
  const attended = selfAttention(builder, normed(x, names.attentionNorm), names.attention, attention);
  const middle = builder.op('Add', [normed(attended, names.attentionOutputNorm), x]);
  const inner = feedForward(builder, normed(middle, names.feedForwardNorm), names.feedForward, fed);
  return builder.op('Add', [normed(inner, names.feedForwardOutputNorm), middle]);
}
