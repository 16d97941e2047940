import { BERT_NAMES, normedEmbeddings } from '../embeddings.js';
import { disentangled, type RelativeVectors } from '../disentangled.js';
import { postNormLayer } from '../layers.js';
import { namesOfBert, postNormOptions } from './bert.js';
import type { Family } from './family.js';

/** DeBERTa v2 and v3: BERT's layers, whose attention weighs distances apart from content. */
export const debertaV2: Family = (builder, settings) => {
  const options = postNormOptions(settings);
  const width = options.attention.hidden;
  const names = {
    ...BERT_NAMES,
    positions: settings.truth('positionTable') ? BERT_NAMES.positions : undefined,
    types: settings.has('types') ? 'embeddings.token_type_embeddings' : undefined,
  };
  let rows = normedEmbeddings(builder, names, width, settings, options.norm);
  const form = { ...options.attention.form, scale: settings.number('scale') };
  const vectors: RelativeVectors | undefined = settings.has('span')
    ? {
        name: 'encoder.rel_embeddings',
        norm: settings.truth('distanceNorm') ? { name: 'encoder.LayerNorm', style: options.norm } : undefined,
        span: settings.number('span'),
        farthest: settings.number('farthest'),
        width,
        most: settings.number('positions'),
      }
    : undefined;
  for (let layer = 0; layer < settings.number('layers'); layer++) {
    const self = `encoder.layer.${layer}.attention.self`;
    const product = (own: string, shared: string): string =>
      `${self}.${settings.truth('distanceProducts') ? own : shared}`;
    const scores =
      vectors &&
      disentangled(builder, vectors, form, {
        keys: settings.truth('distanceKeys') ? product('pos_key_proj', 'key_proj') : undefined,
        queries: settings.truth('distanceQueries') ? product('pos_query_proj', 'query_proj') : undefined,
      });
    const own = namesOfBert(layer);
    const projections = ['query', 'key', 'value'].map((part) => `${self}.${part}_proj`);
    rows = postNormLayer(
      builder,
      rows,
      { ...own, attention: { ...own.attention, projections } },
      { ...options, attention: { ...options.attention, form, distanceBias: scores } },
    );
  }
  return { rows, width };
};
