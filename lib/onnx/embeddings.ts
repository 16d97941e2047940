import type { Builder } from './builder.js';
import type { Value } from './graph.js';
import { norm, type NormStyle } from './norm.js';
import type { Settings } from './settings.js';

/** The names of tables and of the norm behind them, without `.weight` and `.bias`. */
export interface EmbeddingNames {
  readonly words: string;
  readonly positions?: string | undefined;
  /** Absent where the model knows no types of tokens. */
  readonly types?: string | undefined;
  readonly norm: string;
}

/** Of BERT and its kin. */
export const BERT_NAMES: EmbeddingNames = {
  words: 'embeddings.word_embeddings',
  positions: 'embeddings.position_embeddings',
  norm: 'embeddings.LayerNorm',
};

/** The sum of the vectors of words, positions and types, behind a norm: [batch, sequence, width]. */
export function normedEmbeddings(
  builder: Builder,
  names: EmbeddingNames,
  width: number,
  settings: Settings,
  style: NormStyle,
): Value {
  const { graph } = builder;
  let sum = builder.rows(`${names.words}.weight`, [settings.number('vocabulary'), width], builder.ids);
  if (names.types !== undefined)
    sum = graph.op('Add', [sum, typeRows(builder, names.types, width, settings)]);
  if (names.positions !== undefined) {
    const table = builder.parameter(`${names.positions}.weight`, [settings.number('positions'), width]);
    const first = settings.truth('positionsAfterPadding') ? settings.number('paddingToken') + 1 : 0;
    const places = first === 0 ? builder.places : graph.op('Add', [builder.places, graph.integers(first)]);
    sum = graph.op('Add', [sum, graph.op('Gather', [table, places])]);
  }
  return norm(builder, sum, names.norm, width, style);
}

/** A model with one type has no input for it. */
function typeRows(builder: Builder, name: string, width: number, settings: Settings): Value {
  const count = settings.number('types');
  const table = builder.parameter(`${name}.weight`, [count, width]);
  return builder.op('Gather', [table, count > 1 ? builder.types : builder.graph.integers(0)]);
}

/** The vectors of words alone, [batch, sequence, width]. */
export function wordEmbeddings(
  builder: Builder,
  name: string,
  [count, width]: readonly [number, number],
  scale = 1,
): Value {
  const rows = builder.rows(`${name}.weight`, [count, width], builder.ids);
  return scale === 1 ? rows : builder.op('Mul', [rows, builder.number(scale)]);
}
