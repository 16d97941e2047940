import { rmSync, writeFileSync } from 'node:fs';
import { Tokenizer } from '../../../lib/tokenizer/tokenizer.js';
import { GradCacheError } from '../../../lib/errors.js';
import { mutateJson, type Json } from '../mutations.js';
import type { Random } from '../random-arguments.js';
import type { Target } from '../target.js';
import { bases, models, normalizers, postProcessors, preTokenizers, texts } from '../tokenizer-gallery.js';

const GALLERIES: Readonly<Record<string, readonly Json[]>> = {
  normalizer: normalizers,
  pre_tokenizer: preTokenizers,
  post_processor: postProcessors,
  model: models,
  decoder: [null, { type: 'Replace', pattern: { Regex: '(a+)+$' }, content: '' }, { type: 'Fuse' }, 5],
};
const CLASSES = [
  'BertTokenizer',
  'RobertaTokenizerFast',
  'GPT2Tokenizer',
  'XLMRobertaTokenizer',
  'CamembertTokenizer',
  'MPNetTokenizer',
];

function tokenizerJson(random: Random): string {
  const json = structuredClone(random.pick(bases)());
  for (const [part, gallery] of Object.entries(GALLERIES))
    if (random.next() < 0.2) json[part] = structuredClone(random.pick(gallery));
  if (random.next() < 0.2) {
    const tokens = json.added_tokens as Record<string, Json>[];
    for (const token of tokens)
      for (const flag of ['lstrip', 'rstrip', 'normalized', 'single_word'])
        if (random.next() < 0.3) token[flag] = true;
    tokens.push({ ...tokens[0], content: random.pick([' ', '  ', ' a', 'a', 'É', '\u0085', 'the cat']) });
  }
  for (let count = random.below(3) - 1; count > 0; count--) mutateJson(json, random);
  let text = JSON.stringify(json);
  if (random.next() < 0.1) {
    const at = random.below(text.length);
    text =
      text.slice(0, at) +
      random.pick(['', '"', ']', '1e999', '\\ud800', '0', ',"type":"x"']) +
      text.slice(at + random.below(3));
  }
  return text;
}

function files(random: Random): Record<string, Json> {
  const config: Record<string, Json> = {};
  const plain = random.next() < 0.8;
  if (random.next() < 0.8) config.tokenizer_class = plain ? 'PreTrainedTokenizerFast' : random.pick(CLASSES);
  if (random.next() < 0.3) config.additional_special_tokens = ['<NEW>', ' ', 'a'];
  if (random.next() < 0.3)
    config.mask_token = { __type: 'AddedToken', content: ' ', lstrip: true, rstrip: true };
  if (random.next() < 0.3)
    config.added_tokens_decoder = { 3: { content: 'a ', rstrip: true, normalized: true } };
  if (random.next() < 0.3) config.do_lower_case = false;
  if (random.next() < 0.2) mutateJson(config, random);
  const map = { cls_token: '<s>', pad_token: { content: '\t', lstrip: true } };
  if (random.next() < 0.3) mutateJson(map, random);
  return {
    ...(random.next() < 0.7 && { 'tokenizer_config.json': config }),
    ...(random.next() < 0.1 && { 'special_tokens_map.json': map }),
    ...(random.next() < 0.1 && { 'added_tokens.json': { ' ': 40, '': 3, x: 1 } }),
  };
}

function refusal(error: unknown): { ids: Int32Array } {
  if (!(error instanceof GradCacheError)) throw error;
  return { ids: new Int32Array() };
}

/** Broken tokenizers, and odd texts for those that open. */
export const tokenizers: Target = {
  count: 500,
  least: { answered: 100, refused: 100 },
  prepare: () => async (random) => {
    const beside = files(random);
    for (const name of ['tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json']) {
      if (name in beside) writeFileSync(name, JSON.stringify(beside[name]));
      else rmSync(name, { force: true });
    }
    writeFileSync('tokenizer.json', tokenizerJson(random));
    const tokenizer = await Tokenizer.fromFile('tokenizer.json', { lowercase: random.next() < 0.2 });
    const maxLength = tokenizer.specialTokensPerText + 1 + random.below(20);
    for (const text of texts) {
      const { ids } = await tokenizer.encode([text], { maxLength }).catch(refusal);
      if (ids.length > maxLength)
        throw new Error(`${JSON.stringify(text)} has ${ids.length} of ${maxLength} tokens`);
      if (ids.some((id) => id >= tokenizer.vocabularySize)) throw new Error('an id is beyond the vocabulary');
    }
  },
};
