import { GradCacheError } from '../../errors.js';
import { show } from '../../options/option-values.js';
import { albert, bert, distilbert, electra, mpnet } from './bert.js';
import { debertaV2 } from './deberta-v2.js';
import { decoder } from './decoder.js';
import type { Family } from './family.js';
import { modernbert } from './modernbert.js';
import { gte, nomicBert } from './rotary-bert.js';
import { sru } from './sru.js';
import { staticWords } from './static-words.js';
import { t5 } from './t5.js';

/** By the names of native architectures. */
const FAMILIES: Readonly<Record<string, Family>> = {
  albert,
  bert,
  decoder,
  'deberta-v2': debertaV2,
  distilbert,
  electra,
  gte,
  modernbert,
  mpnet,
  nomic_bert: nomicBert,
  sru,
  srupp: sru,
  static: staticWords,
  t5,
};

/** @throws GradCacheError `INPUT` for an architecture that cannot be written as ONNX */
export function familyOf(architecture: string): Family {
  const family = Object.hasOwn(FAMILIES, architecture) ? FAMILIES[architecture] : undefined;
  if (family !== undefined) return family;
  throw new GradCacheError(
    'INPUT',
    `the architecture ${show(architecture)} cannot be written as ONNX; ${Object.keys(FAMILIES).join(', ')} can.`,
  );
}
