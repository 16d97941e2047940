import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/index.js';
import { makeFolders } from '../../lib/files/make-folders.js';
import { temporaryFolder } from '../data/temporary-folder.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';

test('folders are made with those above them, and one that is there is said to be there', async (t) => {
  const home = await temporaryFolder(t);
  const deep = join(home, 'a', 'b', 'c');
  const made = await Promise.all([makeFolders(deep), makeFolders(deep)]);
  assert.equal(made.filter(Boolean).length, 1);
  assert.equal(await makeFolders(home), false);
});

test('a file system that makes no folders is refused, where Node alone would go on for ever', async () => {
  await assert.rejects(makeFolders('/proc/gradcache/model'), { code: 'ENOENT' });
  const model = TextEncoder.create(
    {
      model_type: 'bert',
      vocab_size: 8,
      hidden_size: 8,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      intermediate_size: 16,
    },
    await smallTokenizer(8),
  );
  await assert.rejects(model.save('/proc/gradcache/model'), { name: 'GradCacheError', code: 'INPUT' });
  model.dispose();
});
