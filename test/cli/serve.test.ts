import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { storedKeys } from '../../lib/serve/api-key.js';
import { isCrossEncoderFolder } from '../../lib/model-folder/is-cross-encoder-folder.js';
import { tinyCrossEncoder } from '../serve/support.js';
import { saveTinyModel, temporaryFolder } from '../training/support.js';
import { gradcache } from './program.js';

/** Waits until a server has taken texts. */
async function hasTexts(url: string, headers: Readonly<Record<string, string>>): Promise<void> {
  const taken = /^gradcache_(queue_texts|texts_total) [1-9]/m;
  while (!taken.test(await (await fetch(`${url}/metrics`, { headers })).text()));
}

test('a model is served until SIGTERM, with a key of a file, and what has come is answered', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'tiny'));
  const keys = join(folder, 'keys');
  await writeFile(keys, 'a-key\n\nanother\n');
  let asked: Promise<Response> | undefined;
  const ended = await gradcache(
    ['serve', '--model', model, '--device', 'cpu', '--port', '0', '--api-key-file', keys, '--json'],
    {
      onOutput(child, written) {
        const [, line] = /^(\{.*\})$/m.exec(written) ?? [];
        if (line === undefined || asked !== undefined) return;
        const served = JSON.parse(line) as { url: string; model: string };
        assert.equal(served.model, 'tiny');
        const headers = { 'Content-Type': 'application/json', Authorization: 'Bearer another' };
        asked = fetch(`${served.url}/v1/embeddings`, {
          method: 'POST',
          headers,
          body: JSON.stringify({ model: 'tiny', input: new Array(400).fill('a secret text') }),
        });
        void hasTexts(served.url, headers).then(() => child.kill('SIGTERM'));
      },
    },
  );
  assert.deepEqual([ended.code, ended.signal], [0, null], ended.stderr);
  const reply = await asked!;
  assert.equal(reply.status, 200);
  assert.equal(((await reply.json()) as { data: unknown[] }).data.length, 400);
  assert.match(ended.stderr, /Ending when the requests that have come are answered/);
  assert.doesNotMatch(ended.stderr + ended.stdout, /secret|another/);
});

test('a server that is open to the network without a key says so; a cross-encoder is known by its folder', async (t) => {
  const folder = await temporaryFolder(t);
  const [text, pairs] = [await saveTinyModel(join(folder, 'text')), join(folder, 'pairs')];
  const model = tinyCrossEncoder();
  await model.save(pairs);
  model.dispose();
  assert.deepEqual([await isCrossEncoderFolder(text), await isCrossEncoderFolder(pairs)], [false, true]);
  let url = '';
  let document: Promise<string> | undefined;
  const ended = await gradcache(
    ['serve', '--model', pairs, '--device', 'cpu', '--port', '0', '--host', '0.0.0.0', '--name', 'judge'],
    {
      onOutput(child, written) {
        [, url = ''] = /judge is served at (http:\S+)\n/.exec(written) ?? [];
        if (url === '' || document !== undefined) return;
        document = fetch(`${url.replace('0.0.0.0', '127.0.0.1')}/openapi.json`).then((reply) => reply.text());
        void document.then(() => child.kill('SIGINT'));
      },
    },
  );
  assert.equal(ended.code, 0, ended.stderr);
  assert.match(ended.stderr, /Whoever reaches 0\.0\.0\.0 can use the model: no API key is asked for/);
  assert.match(await document!, /"\/rerank"/);
});

test('wrong calls are refused before the model is read', async (t) => {
  const folder = await temporaryFolder(t);
  const empty = join(folder, 'empty');
  await writeFile(empty, '\n \n');
  for (const [message, code, ...args] of [
    [/--port is 70000; a whole number from 0 to 65535 is needed/, 2, '--port', '70000'],
    [/--max-texts is 0; a whole number from 1/, 2, '--max-texts', '0'],
    [/empty holds no API key/, 1, '--api-key-file', empty],
    [/gone cannot be read/, 1, '--api-key-file', join(folder, 'gone')],
  ] as const) {
    const ended = await gradcache(['serve', '--model', join(folder, 'none'), ...args]);
    assert.equal(ended.code, code, ended.stderr);
    assert.match(ended.stderr, message);
  }
});

test('keys come from the environment and a file, and an empty variable is a mistake', async (t) => {
  const file = join(await temporaryFolder(t), 'keys');
  await writeFile(file, 'one\r\ntwo');
  assert.deepEqual(await storedKeys(undefined, {}), []);
  assert.deepEqual(await storedKeys(file, { GRADCACHE_API_KEY: 'zero' }), ['zero', 'one', 'two']);
  await assert.rejects(storedKeys(file, { GRADCACHE_API_KEY: ' ' }), {
    code: 'INPUT',
    message: /GRADCACHE_API_KEY is empty/,
  });
});
