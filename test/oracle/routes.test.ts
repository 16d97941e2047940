import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { AdamW, GradCache, infoNCE, TextEncoder } from '../../lib/index.js';
import { largestDifference, type Numbers } from './compare.js';
import { Oracle } from './oracle.js';

let oracle: Oracle;
let texts: string[];

before(async () => {
  oracle = new Oracle();
  texts = await oracle.sentences(5, 8, 1, 20);
});

after(() => oracle.close());

const ROUTES = ['query', 'document'] as const;

async function assertSame(
  encoder: TextEncoder,
  route: (typeof ROUTES)[number],
  folder: string,
): Promise<void> {
  const rows = route === 'query' ? encoder.encodeQuery(texts) : encoder.encodeDocument(texts);
  const theirs = (await oracle.encode(folder, texts, { task: route })).flat();
  assert.ok(largestDifference((await (await rows).values()) as Numbers, theirs) < 2e-5, route);
}

for (const legacy of [false, true])
  test(`each route of a ${legacy ? 'Asym' : 'Router'} is an encoder of its own`, async () => {
    const folder = await oracle.saveRouter(`router-${legacy}`, { legacy });
    for (const route of ROUTES) {
      using encoder = await TextEncoder.load(folder, { route });
      await assertSame(encoder, route, folder);
    }
    await assert.rejects(TextEncoder.load(folder), {
      code: 'INPUT',
      message:
        /route is undefined, and .* has a Router with the routes query, document; 'query' or 'document'/,
    });
  });

test('two encoders are trained together and saved as the routes of one folder', async () => {
  const folder = await oracle.saveRouter('source');
  using query = await TextEncoder.load(folder, { route: 'query' });
  using document = await TextEncoder.load(folder, { route: 'document' });
  const gradcache = new GradCache({ encoders: [query, document], loss: infoNCE(), chunk: { sequences: 3 } });
  await gradcache.step([query.tokenize(texts.slice(0, 4)), document.tokenize(texts.slice(4))]);
  await new AdamW(gradcache.parameters(), { lr: 1e-2 }).step();
  const saved = oracle.path('saved');
  await TextEncoder.saveRoutes(saved, { query, document });
  await assertSame(query, 'query', saved);
  await assertSame(document, 'document', saved);
  for (const [route, encoder] of [
    ['query', query],
    ['document', document],
  ] as const) {
    using again = await TextEncoder.load(saved, { route });
    const rows = async (model: TextEncoder) => (await model.encode(texts)).values();
    assert.deepEqual(await rows(again), await rows(encoder));
    // A route alone is a folder of its own.
    const alone = oracle.path(`alone-${route}`);
    await encoder.save(alone);
    await assertSame(encoder, route, alone);
  }
  await assert.rejects(TextEncoder.load(oracle.path('alone-query'), { route: 'query' }), {
    code: 'INPUT',
    message: /route is "query"; none, as .* has no Router/,
  });
  await document.save(saved); // nothing of the routes stays
  await assert.rejects(readFile(join(saved, 'router_config.json')), { code: 'ENOENT' });
});

test('a Router that lacks a route, a module or a type is refused', async () => {
  const folder = await oracle.saveRouter('damaged');
  const path = join(folder, 'router_config.json');
  const good = JSON.parse(await readFile(path, 'utf8')) as { types: object; structure: object };
  const cases: [object, RegExp][] = [
    [{ ...good, structure: { document: [] } }, /structure\.query is undefined; a list of modules/],
    [{ ...good, structure: { query: ['other'] } }, /names the module "other", which has no type/],
    [{ ...good, structure: { query: [['a']] } }, /names the module \["a"\]/],
    [{ ...good, structure: [] }, /lacks the modules of the routes/],
    [
      { types: { '../x': 'sentence_transformers.models.StaticEmbedding' }, structure: { query: ['../x'] } },
      /leads out of the folder/,
    ],
    [{ types: { x: 'os.system' }, structure: { query: ['x'] } }, /code of its own/],
  ];
  for (const [content, message] of cases) {
    await writeFile(path, JSON.stringify(content));
    await assert.rejects(TextEncoder.load(folder, { route: 'query' }), { code: 'CHECKPOINT', message });
  }
});
