import { wordEmbeddings } from '../embeddings.js';
import type { Family } from './family.js';

/** Word vectors alone. */
export const staticWords: Family = (builder, settings) => {
  const width = settings.number('hidden');
  return { rows: wordEmbeddings(builder, 'embedding', [settings.number('vocabulary'), width]), width };
};
