import { wordEmbeddings } from '../embeddings.js';
import { norm, type NormStyle } from '../norm.js';
import { attentiveProjection, recurrence } from '../recurrence.js';
import type { Family } from './family.js';

/** SRU, and SRU++ where the settings have a width for attention. */
export const sru: Family = (builder, settings) => {
  const width = settings.number('hidden');
  const place = settings.text('norm');
  const style: NormStyle = { kind: 'layer', epsilon: settings.number('normEpsilon') };
  const attentive = settings.has('projected');
  let inner = settings.number('embedding');
  let rows = wordEmbeddings(builder, 'embeddings', [settings.number('vocabulary'), inner]);
  for (let layer = 0; layer < settings.number('layers'); layer++) {
    const name = `layers.${layer}`;
    const blocks = inner === width ? 3 : 4;
    const input = place === 'before' ? norm(builder, rows, `${name}.norm`, inner, style) : rows;
    const projections = attentive
      ? attentiveProjection(builder, input, name, {
          inner,
          outer: blocks * width,
          width: settings.number('projected'),
          heads: settings.number('heads'),
          attends: settings.numbers('attentionLayers').includes(layer),
          norm: style,
        })
      : builder.linear(input, { name: `${name}.projection`, bias: false }, blocks * width, inner);
    const states = recurrence(builder, projections, rows, name, {
      width,
      blocks,
      bothWays: settings.truth('bidirectional'),
      skipScale:
        settings.truth('rescale') && blocks === 3
          ? Math.sqrt(1 + 2 * Math.exp(settings.number('highwayBias')))
          : 1,
    });
    rows = place === 'after' ? norm(builder, states, `${name}.norm`, width, style) : states;
    inner = width;
  }
  return { rows, width };
};
