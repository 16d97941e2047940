import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { encoderSettings, initializerRange } from '../../lib/architectures/architecture.js';
import { architectureOf, MODEL_TYPES as ALL } from '../../lib/architectures/architectures.js';
import {
  DENSE_KEYS,
  ENTRY_KEYS,
  MASKED_LANGUAGE_MODEL_KEYS,
  MODEL_KEYS,
  NORMALIZE_KEYS,
  POOLING_KEYS,
  SPLADE_KEYS,
  TRANSFORMER_KEYS,
} from '../../lib/model-folder/folder-keys.js';
import type { KeyTable } from '../../lib/files/key-table.js';
import { mostTokens } from '../../lib/model-folder/length-limit.js';
import { TextEncoder } from '../../lib/index.js';
import { fails } from '../robustness/failures.js';
import { largestDifference } from './compare.js';
import { Oracle } from './oracle.js';

/** Without those that transformers does not have; `new` is what older folders of `gte` say. */
const MODEL_TYPES = ALL.filter((type) => !type.startsWith('sru') && type !== 'static' && type !== 'new');

let oracle: Oracle;
let defaults: Record<string, Record<string, unknown>>;

before(async () => {
  oracle = new Oracle();
  defaults = await oracle.configDefaults(MODEL_TYPES);
});

after(() => oracle.close());

const unnamed = (keys: Iterable<string>, table: KeyTable) => [...keys].filter((key) => !table.has(key));

test('the tables name every key that transformers writes to config.json', () => {
  for (const type of MODEL_TYPES)
    assert.deepEqual(unnamed(Object.keys(defaults[type]!), architectureOf(type).keys), [], type);
});

test('the tables name every key that the modules of sentence-transformers save or take', async () => {
  const { Transformer, Pooling, Dense, Normalize, SpladePooling, ...others } = await oracle.moduleKeys();
  assert.deepEqual(others, {});
  assert.deepEqual(unnamed(Transformer!, TRANSFORMER_KEYS), []);
  assert.deepEqual(unnamed(Pooling!, POOLING_KEYS), []);
  assert.deepEqual(unnamed(Dense!, DENSE_KEYS), []);
  assert.deepEqual(unnamed(Normalize!, NORMALIZE_KEYS), []);
  assert.deepEqual(unnamed(SpladePooling!, SPLADE_KEYS), []);
  assert.deepEqual(unnamed(Transformer!, MASKED_LANGUAGE_MODEL_KEYS), []);
});

test('a key that config.json leaves out has transformers’ default, or is asked for by name', () => {
  const head = { pooling: 'mean', modules: [] } as const;
  const told = (type: string, config: Record<string, unknown>) => ({
    ...encoderSettings(architectureOf(type), config, head),
    deviation: initializerRange(config),
    most: mostTokens(type, config),
  });
  for (const type of MODEL_TYPES) {
    const all = defaults[type]!;
    for (const key of Object.keys(all)) {
      const { [key]: _, ...others } = all;
      try {
        assert.deepEqual(told(type, others), told(type, all), `${type}: ${key}`);
      } catch (error) {
        fails('CHECKPOINT', new RegExp(`: ${key} is undefined; a number is needed`))(error);
      }
    }
  }
});

test('DistilBERT’s norms have the epsilon of transformers’ code, whatever config.json says', () => {
  const head = { pooling: 'mean', modules: [] } as const;
  const config = { ...defaults.distilbert!, layer_norm_eps: 0.1 };
  assert.equal(encoderSettings(architectureOf('distilbert'), config, head).normEpsilon, 1e-12);
});

test('a folder with all that sentence-transformers writes: every file, cut representations, nothing lost', async () => {
  const files = await oracle.savedFiles('everything');
  const folder = oracle.path('everything');
  const tables: Record<string, KeyTable> = {
    'config.json': architectureOf('bert').keys,
    'sentence_bert_config.json': TRANSFORMER_KEYS,
    'config_sentence_transformers.json': MODEL_KEYS,
    '1_Pooling/config.json': POOLING_KEYS,
    '2_Dense/config.json': DENSE_KEYS,
    '3_Normalize/config.json': NORMALIZE_KEYS,
  };
  const { 'modules.json': entries, ...contents } = files as Record<string, Record<string, unknown>>;
  assert.deepEqual(Object.keys(contents).sort(), Object.keys(tables).sort());
  for (const [file, content] of Object.entries(contents))
    assert.deepEqual(unnamed(Object.keys(content), tables[file]!), [], file);
  for (const entry of Object.values(entries!))
    assert.deepEqual(unnamed(Object.keys(entry as object), ENTRY_KEYS), []);

  const texts = await oracle.sentences(5, 6, 1, 30);
  using encoder = await TextEncoder.load(folder);
  const copy = oracle.path('everything-copy');
  await encoder.save(copy);
  const ours = (await (await encoder.encode(texts)).values()) as Float32Array;
  for (const each of [folder, copy]) {
    const { embeddings, dimension } = await oracle.embed(each, texts);
    assert.deepEqual([encoder.dimension, dimension, embeddings[0]!.length], [5, 5, 5]);
    assert.ok(largestDifference(ours, embeddings.flat()) < 1e-5);
  }
  for (const [file, table] of Object.entries(tables)) {
    const after = JSON.parse(await readFile(join(copy, file), 'utf8')) as Record<string, unknown>;
    for (const [key, value] of Object.entries(contents[file]!))
      if (table.get(key) !== 'read') assert.deepEqual(after[key], value, `${file}: ${key}`);
  }
});
