/**
 * Opens broken tokenizers and tokenizes odd texts with what opens, `count` times: a program of its own, because what is
 * looked for is a process that does not survive. Each input is announced before it is used.
 *
 *   node tokenizer-fuzz.js FOLDER SEED COUNT [FIRST]
 *
 * FIRST is where to begin: the input of that number and all refusals are shown.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { argv } from 'node:process';
import { Tokenizer } from '../../lib/encoders/tokenizer.js';
import { GradCacheError } from '../../lib/errors.js';
import { print } from './print.js';
import { Random } from './random-arguments.js';
import {
  badPatterns,
  bases,
  models,
  normalizers,
  patterns,
  postProcessors,
  preTokenizers,
  texts,
} from './tokenizer-gallery.js';

type Json = unknown;

const SCALARS: readonly Json[] = [
  ...[
    null,
    true,
    false,
    0,
    1,
    -1,
    0.5,
    1e9,
    2 ** 32,
    1e300,
    '',
    'a',
    ' ',
    '▁',
    '[CLS]',
    '<s>',
    '\ud800',
    '\u0000',
  ],
  ...[[], {}, [[]], [null], { type: 'Sequence' }, 'Left', 'Regex', ...patterns, ...badPatterns],
];
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

/** A random place in a value, but seldom in its vocabulary: the object or list, and the key there. */
function placeIn(value: Json, random: Random): [holder: Record<string, Json>, key: string] | undefined {
  let holder = value as Record<string, Json>;
  for (;;) {
    const keys = Object.keys(holder).filter((key) => !/^(vocab|merges)$/.test(key) || random.next() < 0.1);
    if (keys.length === 0) return undefined;
    const key = random.pick(keys);
    const next = holder[key];
    if (typeof next !== 'object' || next === null || Object.keys(next).length === 0 || random.next() < 0.25)
      return [holder, key];
    holder = next as Record<string, Json>;
  }
}

function mutate(value: Json, random: Random): void {
  const place = placeIn(value, random);
  if (place === undefined) return;
  const [holder, key] = place;
  const old = holder[key];
  const other = placeIn(value, random);
  const way = random.below(6);
  if (way === 0) {
    if (Array.isArray(holder)) holder.splice(Number(key), 1);
    else delete holder[key];
  } else if (way === 1 && Array.isArray(old)) {
    old.push(structuredClone(old[0]));
  } else if (way === 2 && other !== undefined) {
    holder[key] = structuredClone(other[0][other[1]]);
  } else if (typeof old === 'boolean') {
    holder[key] = !old;
  } else if (typeof old === 'number') {
    holder[key] = old + random.pick([1, -1, 1000]);
  } else if (typeof old === 'string' && random.next() < 0.5) {
    const at = random.below(old.length + 1);
    holder[key] = old.slice(0, at) + String(random.pick(SCALARS)) + old.slice(at + random.below(2));
  } else {
    holder[key] = random.pick(SCALARS);
  }
}

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
  for (let count = random.below(3) - 1; count > 0; count--) mutate(json, random);
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
  if (random.next() < 0.2) mutate(config, random);
  const map = { cls_token: '<s>', pad_token: { content: '\t', lstrip: true } };
  if (random.next() < 0.3) mutate(map, random);
  return {
    ...(random.next() < 0.7 && { 'tokenizer_config.json': config }),
    ...(random.next() < 0.1 && { 'special_tokens_map.json': map }),
    ...(random.next() < 0.1 && { 'added_tokens.json': { ' ': 40, '': 3, x: 1 } }),
  };
}

/** Lets errors of the package pass; anything else ends the program. */
function refusal(error: unknown): { ids: Int32Array } {
  if (!(error instanceof GradCacheError)) throw error;
  if (show) print(`${error.code}: ${error.message}\n`);
  return { ids: new Int32Array() };
}

const [folder, ...numbers] = argv.slice(2) as [string, ...string[]];
const [seed, count, first = 0] = numbers.map(Number) as [number, number, number?];
const show = numbers.length > 2;
const path = join(folder, 'tokenizer.json');
let opened = 0;
let refused = 0;
for (let k = first; k < count; k++) {
  const random = new Random(seed * 1_000_003 + k);
  const json = tokenizerJson(random);
  const beside = files(random);
  if (show && k === first) print(`${json}\n${JSON.stringify(beside)}\n`);
  print(`${k}\n`);
  for (const name of ['tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json']) {
    if (name in beside) writeFileSync(join(folder, name), JSON.stringify(beside[name]));
    else rmSync(join(folder, name), { force: true });
  }
  writeFileSync(path, json);
  try {
    const tokenizer = await Tokenizer.fromFile(path, { lowercase: random.next() < 0.2 });
    const maxLength = tokenizer.specialTokensPerText + 1 + random.below(20);
    opened++;
    for (const text of texts) {
      const { ids } = await tokenizer.encode([text], { maxLength }).catch(refusal);
      if (ids.length > maxLength)
        throw new Error(`${JSON.stringify(text)} has ${ids.length} of ${maxLength} tokens`);
      if (ids.some((id) => id >= tokenizer.vocabularySize)) throw new Error('an id is beyond the vocabulary');
    }
  } catch (error) {
    refusal(error);
    refused++;
  }
}
print(`${JSON.stringify({ opened, refused })}\n`);
