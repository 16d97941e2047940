import { distanceBias } from '../distance-bias.js';
import { wordEmbeddings } from '../embeddings.js';
import { preNormLayer } from '../layers.js';
import { norm, type NormStyle } from '../norm.js';
import type { Family } from './family.js';

/** The encoder of T5. */
export const t5: Family = (builder, settings) => {
  const [width, heads, size] = [
    settings.number('hidden'),
    settings.number('heads'),
    settings.number('headSize'),
  ];
  const style: NormStyle = { kind: 'root', epsilon: settings.number('normEpsilon') };
  const gated = settings.truth('gated');
  let rows = wordEmbeddings(builder, 'shared', [settings.number('vocabulary'), width]);
  const bias = distanceBias(builder, {
    name: 'encoder.block.0.layer.0.SelfAttention.relative_attention_bias',
    buckets: settings.number('relativeBuckets'),
    farthest: settings.number('relativeDistance'),
    heads,
  });
  for (let layer = 0; layer < settings.number('layers'); layer++) {
    const root = `encoder.block.${layer}.layer`;
    const [attention, dense] = [`${root}.0.SelfAttention`, `${root}.1.DenseReluDense`];
    rows = preNormLayer(
      builder,
      rows,
      {
        attentionNorm: `${root}.0.layer_norm`,
        attention: {
          projections: ['q', 'k', 'v'].map((part) => `${attention}.${part}`),
          output: `${attention}.o`,
        },
        feedForwardNorm: `${root}.1.layer_norm`,
        feedForward: {
          up: gated ? [`${dense}.wi_0`, `${dense}.wi_1`] : [`${dense}.wi`],
          down: `${dense}.wo`,
        },
      },
      {
        attention: {
          hidden: width,
          form: { heads, keyHeads: heads, size, scale: 1 },
          bias: false,
          outputBias: false,
          distanceBias: bias,
        },
        feedForward: {
          hidden: width,
          intermediate: settings.number('intermediate'),
          activation: settings.text('activation'),
          gate: gated ? 'first' : undefined,
          upBias: false,
          downBias: false,
        },
        norm: style,
      },
    );
  }
  return { rows: norm(builder, rows, 'encoder.final_layer_norm', width, style), width };
};
