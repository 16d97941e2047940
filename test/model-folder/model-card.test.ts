import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { cardHead } from '../../lib/hub/card-head.js';
import { licenceIn, modelCard, type CardRun } from '../../lib/model-folder/model-card.js';
import { temporaryFolder } from '../training/support.js';

async function folderOf(t: TestContext, files: Readonly<Record<string, unknown>>): Promise<string> {
  const folder = await temporaryFolder(t);
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return folder;
}

test('each kind of model is shown as Node and Python open it', async (t) => {
  const stated = 'config_sentence_transformers.json';
  const kinds: [files: Record<string, unknown>, pipeline: string, node: RegExp, python: RegExp][] = [
    [
      { [stated]: {} },
      'sentence-similarity',
      /TextEncoder\.load\('hf:me\/x'\)[^]*model\.encode\(/,
      /= SentenceTransformer\("me\/x"\)/,
    ],
    [
      { [stated]: { model_type: 'SparseEncoder' } },
      'feature-extraction',
      /model\.encodeSparse\(/,
      /= SparseEncoder\(/,
    ],
    [
      { [stated]: { model_type: 'MultiVectorEncoder' } },
      'sentence-similarity',
      /model\.encodeTokens\(/,
      /= MultiVectorEncoder\(/,
    ],
    [
      { [stated]: { model_type: 'CrossEncoder' } },
      'text-ranking',
      /CrossEncoder\.load\('hf:me\/x'\)[^]*model\.predict\(/,
      /= CrossEncoder\(/,
    ],
    [
      { 'config.json': { architectures: ['BertForSequenceClassification'] } },
      'text-ranking',
      /model\.predict/,
      /= CrossEncoder/,
    ],
    [
      { [stated]: { model_type: 'constructor' } },
      'sentence-similarity',
      /model\.encode\(/,
      /= SentenceTransformer/,
    ],
  ];
  for (const [files, pipeline, node, python] of kinds) {
    const card = await modelCard(await folderOf(t, files), 'me/x', undefined);
    const { library_name: library, pipeline_tag: tag, license } = cardHead(card);
    assert.deepEqual([library, tag, license], ['sentence-transformers', pipeline, undefined]);
    assert.match(card, node);
    assert.match(card, python);
    assert.doesNotMatch(card, /## (Training|Scores|Licence)/);
  }
});

test('a card has the facts of its run, prompts, scores and licence, whatever characters are in them', async (t) => {
  const folder = await folderOf(t, {
    'config_sentence_transformers.json': { prompts: { query: 'query: ', none: '', odd: 'a|b\n`c`' } },
  });
  const run: CardRun = {
    base: 'org/model',
    licence: 'other: "x"\n# y',
    datasets: ['org/pairs'],
    facts: [
      ['data', 'a|b.jsonl'],
      ['rows', '60'],
    ],
    scores: [
      { name: 'recall@1', before: 0.5, after: 0.75 },
      { name: 'loss', before: null, after: 1.25 },
    ],
  };
  const card = await modelCard(folder, 'me/tuned', run);
  const head = cardHead(card);
  assert.deepEqual(
    [head['base_model'], head['license'], head['datasets']],
    ['org/model', run.licence, ['org/pairs']],
  );
  assert.match(card, /\n# tuned\n/);
  assert.match(card, /\| `query` \| `query: ` \|\n\| `odd` \| `a\\\|b 'c'` \|\n/);
  assert.match(card, /\| data \| a\\\|b\.jsonl \|\n\| rows \| 60 \|/);
  assert.match(card, /\| recall@1 \| 0\.5000 \| 0\.7500 \|\n\| loss \| – \| 1\.2500 \|/);
  const unknown = await modelCard(folder, 'me/tuned', { ...run, licence: null, scores: [] });
  assert.match(unknown, /The card of org\/model names no licence: ask its owner\./);
  await writeFile(join(folder, 'README.md'), card);
  assert.equal(await licenceIn(folder), run.licence);
});

test('the card of an adapter names its base model', async (t) => {
  const folder = await folderOf(t, { 'adapter_config.json': { base_model_name_or_path: 'org/base' } });
  assert.equal(cardHead(await modelCard(folder, 'me/x', undefined))['base_model'], 'org/base');
});
