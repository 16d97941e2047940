import { normedEmbeddings } from '../embeddings.js';
import { layerPlans } from '../layer-plan.js';
import { postNormLayer, type PostNormNames } from '../layers.js';
import { postNormOptions } from './bert.js';
import type { Family } from './family.js';

/** Nomic BERT. */
export const nomicBert = rotaryBert('emb_ln', (layer) => {
  const root = `encoder.layers.${layer}`;
  return {
    attention: { projections: [`${root}.attn.Wqkv`], output: `${root}.attn.out_proj` },
    attentionNorm: `${root}.norm1`,
    feedForward: { up: [`${root}.mlp.fc11`, `${root}.mlp.fc12`], down: `${root}.mlp.fc2` },
    outputNorm: `${root}.norm2`,
  };
});

/** GTE. */
export const gte = rotaryBert('embeddings.LayerNorm', (layer) => {
  const root = `encoder.layer.${layer}`;
  return {
    attention: { projections: [`${root}.attention.qkv_proj`], output: `${root}.attention.o_proj` },
    attentionNorm: `${root}.attn_ln`,
    feedForward: { up: [`${root}.mlp.up_gate_proj`], down: `${root}.mlp.down_proj` },
    outputNorm: `${root}.mlp_ln`,
  };
});

/** BERT with rotary positions and a gated activation. */
function rotaryBert(embeddingNorm: string, namesOf: (layer: number) => PostNormNames): Family {
  return (builder, settings) => {
    const { attention, feedForward, norm } = postNormOptions(settings);
    const width = attention.hidden;
    const types = settings.has('types') && settings.number('types') > 0;
    const names = {
      words: 'embeddings.word_embeddings',
      types: types ? 'embeddings.token_type_embeddings' : undefined,
      norm: embeddingNorm,
    };
    let rows = normedEmbeddings(builder, names, width, settings, norm);
    for (const [layer, { window, rotary }] of layerPlans(builder, settings).entries())
      rows = postNormLayer(builder, rows, namesOf(layer), {
        norm,
        attention: {
          ...attention,
          form: { ...attention.form, window },
          bias: settings.truth('attentionBias'),
          outputBias: settings.truth('outputBias'),
          rotary,
        },
        feedForward: {
          ...feedForward,
          gate: 'second',
          upBias: settings.truth('upBias'),
          downBias: settings.truth('downBias'),
        },
      });
    return { rows, width };
  };
}
