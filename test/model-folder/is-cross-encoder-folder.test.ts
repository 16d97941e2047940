import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCrossEncoderFolder } from '../../lib/model-folder/is-cross-encoder-folder.js';
import { temporaryFolder } from '../training/support.js';

const classifier = { 'config.json': { architectures: ['BertForSequenceClassification'] } };
const stated = (kind: string) => ({ 'config_sentence_transformers.json': { model_type: kind } });
/** Without a Router's files: what its routes hold tells nothing. */
const modules = (type: string) => ({
  'modules.json': [{ idx: 0, name: '0', path: '', type: `sentence_transformers.models.${type}` }],
});

const FOLDERS: readonly (readonly [string, Readonly<Record<string, unknown>>, boolean])[] = [
  ['transformers, a classifier', classifier, true],
  ['transformers, another head', { 'config.json': { architectures: ['BertModel'] } }, false],
  ['no architectures', { 'config.json': {} }, false],
  ['stated', { ...classifier, ...modules('Transformer'), ...stated('CrossEncoder') }, true],
  ['stated otherwise', { ...classifier, ...modules('Transformer'), ...stated('SentenceTransformer') }, false],
  ['older sentence-transformers on a classifier', { ...classifier, ...modules('Transformer') }, false],
  ['older sentence-transformers with a Router', modules('Asym'), false],
];

test('a cross-encoder is known by its folder', async (t) => {
  const root = await temporaryFolder(t);
  for (const [name, files, expected] of FOLDERS) {
    const folder = join(root, name);
    await mkdir(folder);
    for (const [file, content] of Object.entries(files))
      await writeFile(join(folder, file), JSON.stringify(content));
    assert.equal(await isCrossEncoderFolder(folder), expected, name);
  }
});
