import { wordEmbeddings } from '../embeddings.js';
import { layerPlans } from '../layer-plan.js';
import { preNormLayer, type PreNormNames } from '../layers.js';
import { norm, type NormStyle } from '../norm.js';
import type { Settings } from '../settings.js';
import type { Family } from './family.js';

/** Llama and its kin: Mistral, Qwen, Gemma, EuroBERT. */
export const decoder: Family = (builder, settings) => {
  const width = settings.number('hidden');
  const style: NormStyle = {
    kind: 'root',
    epsilon: settings.number('normEpsilon'),
    offset: settings.number('normOffset'),
  };
  const bias = settings.truth('feedForwardBias');
  const table = [settings.number('vocabulary'), width] as const;
  let rows = wordEmbeddings(builder, 'embed_tokens', table, settings.number('embeddingScale'));
  for (const [layer, { window, rotary }] of layerPlans(builder, settings).entries())
    rows = preNormLayer(builder, rows, namesOf(`layers.${layer}`, settings), {
      attention: {
        hidden: width,
        form: {
          heads: settings.number('heads'),
          keyHeads: settings.number('keyHeads'),
          size: settings.number('headSize'),
          scale: settings.number('scale'),
          causal: settings.truth('causal'),
          softCap: settings.number('softCap'),
          window,
        },
        bias: settings.truth('attentionBias'),
        outputBias: settings.truth('outputBias'),
        normEpsilon: style.epsilon,
        normOffset: settings.number('normOffset'),
        rotary,
      },
      feedForward: {
        hidden: width,
        intermediate: settings.number('intermediate'),
        activation: settings.text('activation'),
        gate: 'first',
        upBias: bias,
        downBias: bias,
      },
      norm: style,
    });
  return { rows: norm(builder, rows, 'norm', width, style), width };
};

function namesOf(root: string, settings: Settings): PreNormNames {
  const [attention, mlp] = [`${root}.self_attn`, `${root}.mlp`];
  const headNorms = settings.truth('headNorms');
  const sandwich = settings.truth('sandwich');
  return {
    attentionNorm: `${root}.input_layernorm`,
    attention: {
      projections: ['q', 'k', 'v'].map((part) => `${attention}.${part}_proj`),
      output: `${attention}.o_proj`,
      ...(headNorms && { queryNorm: `${attention}.q_norm`, keyNorm: `${attention}.k_norm` }),
    },
    attentionOutputNorm: sandwich ? `${root}.post_attention_layernorm` : undefined,
    feedForwardNorm: `${root}.${sandwich ? 'pre_feedforward' : 'post_attention'}_layernorm`,
    feedForward: { up: [`${mlp}.gate_proj`, `${mlp}.up_proj`], down: `${mlp}.down_proj` },
    feedForwardOutputNorm: sandwich ? `${root}.post_feedforward_layernorm` : undefined,
  };
}
