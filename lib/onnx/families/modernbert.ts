import { plainForm } from '../attention.js';
import { normedEmbeddings } from '../embeddings.js';
import { layerPlans } from '../layer-plan.js';
import { preNormLayer } from '../layers.js';
import { norm, type NormStyle } from '../norm.js';
import type { Family } from './family.js';

/** ModernBERT. */
export const modernbert: Family = (builder, settings) => {
  const [width, heads] = [settings.number('hidden'), settings.number('heads')];
  const style: NormStyle = {
    kind: 'layer',
    epsilon: settings.number('normEpsilon'),
    shift: settings.truth('normBias'),
  };
  const form = plainForm(heads, width / heads);
  const [bias, fedBias] = [settings.truth('attentionBias'), settings.truth('feedForwardBias')];
  const names = { words: 'embeddings.tok_embeddings', norm: 'embeddings.norm' };
  let rows = normedEmbeddings(builder, names, width, settings, style);
  for (const [layer, { window, rotary }] of layerPlans(builder, settings).entries()) {
    const root = `layers.${layer}`;
    rows = preNormLayer(
      builder,
      rows,
      {
        // The first layer takes what the embeddings' norm gives.
        attentionNorm: layer === 0 ? undefined : `${root}.attn_norm`,
        attention: { projections: [`${root}.attn.Wqkv`], output: `${root}.attn.Wo` },
        feedForwardNorm: `${root}.mlp_norm`,
        feedForward: { up: [`${root}.mlp.Wi`], down: `${root}.mlp.Wo` },
      },
      {
        attention: { hidden: width, form: { ...form, window }, bias, outputBias: bias, rotary },
        feedForward: {
          hidden: width,
          intermediate: settings.number('intermediate'),
          activation: settings.text('activation'),
          gate: 'first',
          upBias: fedBias,
          downBias: fedBias,
        },
        norm: style,
      },
    );
  }
  return { rows: norm(builder, rows, 'final_norm', width, style), width };
};
