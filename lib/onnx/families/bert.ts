import { plainForm } from '../attention.js';
import type { Builder } from '../builder.js';
import { distanceBias } from '../distance-bias.js';
import { BERT_NAMES, normedEmbeddings } from '../embeddings.js';
import type { Value } from '../graph.js';
import { postNormLayer, type LayerOptions, type PostNormNames } from '../layers.js';
import type { NormStyle } from '../norm.js';
import type { Settings } from '../settings.js';
import type { Family } from './family.js';

const TYPES = 'embeddings.token_type_embeddings';

/** BERT, and with it RoBERTa and their kin. */
export const bert: Family = (builder, settings) => {
  const hidden = settings.number('hidden');
  const x = embeddings(builder, settings, hidden, TYPES);
  return layers(builder, settings, x, namesOfBert);
};

/** ELECTRA: the embeddings may have another width. */
export const electra: Family = (builder, settings) => {
  const [embedding, hidden] = [settings.number('embedding'), settings.number('hidden')];
  let x = embeddings(builder, settings, embedding, TYPES);
  if (embedding !== hidden)
    x = builder.linear(x, { name: 'embeddings_project', bias: true }, hidden, embedding);
  return layers(builder, settings, x, namesOfBert);
};

/** ALBERT: one layer again and again. */
export const albert: Family = (builder, settings) => {
  const [embedding, hidden] = [settings.number('embedding'), settings.number('hidden')];
  const narrow = embeddings(builder, settings, embedding, TYPES);
  const name = 'encoder.embedding_hidden_mapping_in';
  const x = builder.linear(narrow, { name, bias: true }, hidden, embedding);
  const root = 'encoder.albert_layer_groups.0.albert_layers.0';
  return layers(builder, settings, x, () => ({
    attention: {
      projections: ['query', 'key', 'value'].map((part) => `${root}.attention.${part}`),
      output: `${root}.attention.dense`,
    },
    attentionNorm: `${root}.attention.LayerNorm`,
    feedForward: { up: [`${root}.ffn`], down: `${root}.ffn_output` },
    outputNorm: `${root}.full_layer_layer_norm`,
  }));
};

/** DistilBERT: other names, and no types of tokens. */
export const distilbert: Family = (builder, settings) => {
  const x = embeddings(builder, settings, settings.number('hidden'));
  return layers(builder, settings, x, (layer) => {
    const root = `transformer.layer.${layer}`;
    return {
      attention: {
        projections: ['q', 'k', 'v'].map((part) => `${root}.attention.${part}_lin`),
        output: `${root}.attention.out_lin`,
      },
      attentionNorm: `${root}.sa_layer_norm`,
      feedForward: { up: [`${root}.ffn.lin1`], down: `${root}.ffn.lin2` },
      outputNorm: `${root}.output_layer_norm`,
    };
  });
};

/** In transformers' code, whatever the configuration says. */
const FARTHEST = 128;

/** MPNet: no types of tokens, and a learned bias by distance. */
export const mpnet: Family = (builder, settings) => {
  const x = embeddings(builder, settings, settings.number('hidden'));
  const bias = distanceBias(builder, {
    name: 'encoder.relative_attention_bias',
    buckets: settings.number('relativeBuckets'),
    farthest: FARTHEST,
    heads: settings.number('heads'),
  });
  const names = (layer: number): PostNormNames => {
    const root = `encoder.layer.${layer}`;
    return {
      ...namesOfBert(layer),
      attention: {
        projections: ['q', 'k', 'v'].map((part) => `${root}.attention.attn.${part}`),
        output: `${root}.attention.attn.o`,
      },
      attentionNorm: `${root}.attention.LayerNorm`,
    };
  };
  return layers(builder, settings, x, names, bias);
};

const styleOf = (settings: Settings): NormStyle => ({
  kind: 'layer',
  epsilon: settings.number('normEpsilon'),
});

function embeddings(builder: Builder, settings: Settings, width: number, types?: string): Value {
  return normedEmbeddings(builder, { ...BERT_NAMES, types }, width, settings, styleOf(settings));
}

/** The names of a layer of BERT. */
export function namesOfBert(layer: number): PostNormNames {
  const root = `encoder.layer.${layer}`;
  return {
    attention: {
      projections: ['query', 'key', 'value'].map((part) => `${root}.attention.self.${part}`),
      output: `${root}.attention.output.dense`,
    },
    attentionNorm: `${root}.attention.output.LayerNorm`,
    feedForward: { up: [`${root}.intermediate.dense`], down: `${root}.output.dense` },
    outputNorm: `${root}.output.LayerNorm`,
  };
}

function layers(
  builder: Builder,
  settings: Settings,
  embedded: Value,
  namesOf: (layer: number) => PostNormNames,
  bias?: Value,
) {
  const width = settings.number('hidden');
  const options = postNormOptions(settings);
  const attention = { ...options.attention, distanceBias: bias };
  let rows = embedded;
  for (let layer = 0; layer < settings.number('layers'); layer++)
    rows = postNormLayer(builder, rows, namesOf(layer), { ...options, attention });
  return { rows, width };
}

/** The layer of BERT, which others have with some changes. */
export function postNormOptions(settings: Settings): LayerOptions {
  const [hidden, heads] = [settings.number('hidden'), settings.number('heads')];
  return {
    attention: { hidden, form: plainForm(heads, hidden / heads), bias: true, outputBias: true },
    feedForward: {
      hidden,
      intermediate: settings.number('intermediate'),
      activation: settings.text('activation'),
      upBias: true,
      downBias: true,
    },
    norm: styleOf(settings),
  };
}
