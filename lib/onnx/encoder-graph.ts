import type { EncoderSettings } from '../addon/native.js';
import { activation } from './activation.js';
import { Builder, type OnnxPrecision } from './builder.js';
import { familyOf } from './families/families.js';
import type { TokenRows } from './families/family.js';
import type { Graph, Value } from './graph.js';
import { behindModules } from './head-modules.js';
import { norm } from './norm.js';
import type { Parameters } from './parameters.js';
import { pooled } from './pooling.js';
import { Settings } from './settings.js';

/** What a graph gives besides the tokens' rows, by the names that onnxruntime's users know. */
export type OnnxKind = 'embedding' | 'splade' | 'scores';

export interface EncoderGraph {
  readonly kind: OnnxKind;
  readonly precision: OnnxPrecision;
  /** How many numbers of a representation are given; null: all. */
  readonly dimensions: number | null;
}

/**
 * The graph of an encoder. Inputs are `input_ids` and `attention_mask` [batch, sequence], and `token_type_ids` of a model that knows
 * several types; padding may be at either end. Outputs are in float32: `last_hidden_state` [batch, sequence, hidden] and
 * `sentence_embedding` [batch, dimension]; of SPLADE `logits` [batch, sequence, vocabulary] and `sentence_embedding`; of a
 * cross-encoder `logits` [batch, labels].
 *
 * @param settings those of the native encoder
 */
export function encoderGraph(
  settings: EncoderSettings,
  parameters: Parameters,
  { kind, precision, dimensions }: EncoderGraph,
): Graph {
  const own = new Settings(settings);
  const builder = new Builder(parameters, precision);
  const tokens = familyOf(own.text('architecture'))(builder, own);
  if (kind === 'splade') splade(builder, tokens, own);
  else pooledOutputs(builder, tokens, own, kind, dimensions);
  return builder.graph;
}

function pooledOutputs(
  builder: Builder,
  tokens: TokenRows,
  settings: Settings,
  kind: 'embedding' | 'scores',
  dimensions: number | null,
): void {
  const { graph } = builder;
  const rows = wide(builder, tokens.rows);
  const names = settings.text('pooling');
  const ready = behindModules(builder, rows, tokens.width, settings, 'tokenModules');
  const width = ready.width * names.split('+').length;
  const head = behindModules(builder, pooled(builder, ready.rows, names), width, settings);
  if (kind === 'scores') {
    graph.output(head.rows, 'logits', 'float32', ['batch', head.width]);
    return;
  }
  graph.output(rows, 'last_hidden_state', 'float32', ['batch', 'sequence', tokens.width]);
  const count = Math.min(dimensions ?? head.width, head.width);
  const cut =
    count < head.width
      ? graph.op('Slice', [head.rows, ...[0, count, 1].map((each) => graph.integers([each]))])
      : head.rows;
  graph.output(cut, 'sentence_embedding', 'float32', ['batch', count]);
}

/** Words of the vocabulary by their logits (native/blocks/vocabulary_transform, native/model/splade_head). */
function splade(builder: Builder, tokens: TokenRows, settings: Settings): void {
  const { graph } = builder;
  const [own] = settings.list('splade');
  if (own === undefined) return;
  const [width, vocabulary] = [own.number('width'), settings.number('vocabulary')];
  const ready = own.has('dense') ? transformed(builder, tokens, own) : tokens.rows;
  const product = builder.againstRows(ready, `${own.text('words')}.weight`, [vocabulary, width]);
  const biased = own.has('bias')
    ? graph.op('Add', [product, builder.parameter(own.text('bias'), [vocabulary])])
    : product;
  const logits = wide(builder, biased);
  let values = logOf(graph, graph.op('Relu', [logits]));
  if (own.number('logarithms') === 2) values = logOf(graph, values);
  const isToken = graph.op('Unsqueeze', [builder.cast(builder.isToken, 'float32'), graph.integers([2])]);
  const seen = graph.op('Mul', [values, isToken]);
  const pool = own.text('pooling') === 'sum' ? 'ReduceSum' : 'ReduceMax';
  graph.output(logits, 'logits', 'float32', ['batch', 'sequence', vocabulary]);
  const sparse = graph.op(pool, [seen, graph.integers([1])], { keepdims: 0 });
  graph.output(sparse, 'sentence_embedding', 'float32', ['batch', vocabulary]);
}

/** What tokens go through before they are compared with words. */
function transformed(builder: Builder, { rows, width: inner }: TokenRows, own: Settings): Value {
  const width = own.number('width');
  const names = { name: own.text('dense'), bias: own.truth('denseBias') };
  const dense = builder.linear(rows, names, width, inner);
  const active = activation(builder.graph, dense, own.text('activation'), builder.type);
  return norm(builder, active, own.text('norm'), width, {
    kind: 'layer',
    epsilon: own.number('normEpsilon'),
    shift: own.truth('normBias'),
  });
}

const logOf = (graph: Graph, x: Value): Value => graph.op('Log', [graph.op('Add', [x, graph.number(1)])]);

const wide = (builder: Builder, rows: Value): Value =>
  builder.type === 'float32' ? rows : builder.cast(rows, 'float32');
