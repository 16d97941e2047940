import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { cutAfter, filesOf, HubServer, refuse } from '../hub/hub-server.js';
import { pairs, saveTinyModel, temporaryFolder } from '../training/support.js';
import { gradcache } from './program.js';

async function hubOf(t: TestContext) {
  const hub = await HubServer.start(t);
  const folder = await temporaryFolder(t);
  const model = await filesOf(await saveTinyModel(join(folder, 'start')));
  hub.commit('models/org/model', model);
  const rows = pairs().map((row) => `${JSON.stringify(row)}\n`);
  hub.commit('datasets/org/pairs', { 'train.jsonl': rows.join(''), 'test.jsonl': rows.slice(0, 9).join('') });
  const run = (args: readonly string[], environment: Record<string, string> = {}) =>
    gradcache(args, { cwd: folder, env: { ...hub.environment(join(folder, 'home')), ...environment } });
  return { hub, folder, model, run };
}

test('train, evaluate and embed take a model and data by name, and standard output holds results alone', async (t) => {
  const { hub, folder, run } = await hubOf(t);
  const evaluated = await run(['evaluate', '--model', 'org/model', '--data', 'hf:org/pairs:test', '--json']);
  assert.equal(evaluated.code, 0, evaluated.stderr);
  assert.equal(evaluated.stdout.trim().split('\n').length, 1);
  assert.match(evaluated.stderr, /hf:org\/pairs:test at [0-9a-f]{12}, 0 MiB fetched: \S+snapshots/);
  assert.match(evaluated.stderr, /hf:org\/model at [0-9a-f]{12}, \d+ MiB fetched: \S+snapshots/);
  assert.match(evaluated.stderr, /^org\/model in float32 on /m);
  hub.take();

  const settings = ['--steps', '2', '--chunk-sequences', '8', '--device', 'cpu'];
  const train = (output: string, environment = {}) =>
    run(
      [
        'train',
        '--model',
        'org/model',
        '--data',
        'hf:org/pairs',
        '--output',
        output,
        '--batch',
        '20',
        ...settings,
      ],
      environment,
    );
  const trained = await train('run');
  assert.equal(trained.code, 0, trained.stderr);
  assert.ok(hub.take().every(({ path }) => path.includes('pairs')));
  const again = await train('again', { HF_ENDPOINT: 'http://127.0.0.1:1' });
  assert.equal(again.code, 0, again.stderr);
  const embedded = await run([
    ...['embed', '--model', 'hf:org/model', '--input', 'hf:org/pairs:test', '--column', 'anchor'],
    ...['--output', 'out.npy', '--json'],
  ]);
  assert.equal(embedded.code, 0, embedded.stderr);
  assert.equal((JSON.parse(embedded.stdout) as { texts: number }).texts, 9);
  assert.match(embedded.stderr, /hf:org\/model at [0-9a-f]{12}, from the cache/);
  assert.deepEqual(hub.take(), []);

  // A folder of that name wins, and is said.
  await mkdir(join(folder, 'org', 'model'), { recursive: true });
  const here = await run(['evaluate', '--model', 'org/model', '--data', 'hf:org/pairs:test']);
  assert.equal(here.code, 1);
  assert.match(here.stderr, /^org\/model is a folder here; hf:org\/model would be that of the hub$/m);
  assert.match(here.stderr, /CHECKPOINT: org\/model has no config\.json/);
});

test('what is not on the hub is told with the way out; a wrong name is a wrong call', async (t) => {
  const { hub, run } = await hubOf(t);
  const missing = await run(['evaluate', '--model', 'org/none', '--data', 'hf:org/pairs:test']);
  assert.equal(missing.code, 1);
  assert.match(
    missing.stderr,
    /^HUB: There is no folder org\/none\. The revision main of org\/none was asked of http.*401/m,
  );
  const wrong = await run(['evaluate', '--model', 'hf:org', '--data', 'hf:org/../pairs']);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /^INPUT: --data is "hf:org\/\.\.\/pairs"; hf:OWNER\/NAME/);
  const offline = await run(['pull', 'org/model'], { HF_HUB_OFFLINE: '1' });
  assert.equal(offline.code, 1);
  assert.match(offline.stderr, /^HUB: hf:org\/model is not in the cache.*Nothing of it is in the cache/);
  assert.ok(!hub.take().some(({ path }) => path.startsWith('/api/models/org/model')));
});

/** Waits until a file in a folder has so many bytes. */
async function holds(folder: string, bytes: number): Promise<void> {
  for (;;) {
    // Files are renamed while this looks.
    const names = await readdir(folder, { recursive: true }).catch(() => []);
    const sizes = names.map((name) =>
      stat(join(folder, name)).then(
        ({ size }) => size,
        () => 0,
      ),
    );
    if ((await Promise.all(sizes)).includes(bytes)) return;
    await wait(20);
  }
}

test('pull fetches, says so, and goes on after it was killed', async (t) => {
  const { hub, model, run } = await hubOf(t);
  const weights = model.get('model.safetensors')!;
  hub.fault = ({ path }, response) => {
    if (!path.endsWith('model.safetensors')) return false;
    response.writeHead(200, { 'content-length': weights.length });
    response.write(weights.subarray(0, 100_000)); // and then nothing
    return true;
  };
  const home = { HF_HOME: join(await temporaryFolder(t), 'other') };
  let waiting = false;
  const killed = await gradcache(['pull', 'org/model'], {
    env: { ...hub.environment(''), ...home },
    onOutput: (child, written) => {
      if (waiting || !written.includes('MiB of')) return;
      waiting = true;
      void holds(home.HF_HOME, 100_000).then(() => child.kill('SIGKILL'));
    },
  });
  assert.equal(killed.signal, 'SIGKILL');
  let range = '';
  hub.fault = (request) => {
    if (request.path.endsWith('model.safetensors')) range = request.range ?? '';
    return false;
  };
  const pulled = await run(['pull', 'org/model', '--json'], home);
  assert.equal(pulled.code, 0, pulled.stderr);
  assert.match(range, /^bytes=[1-9]\d*-$/);
  const { name, kind, folder, files, fetched } = JSON.parse(pulled.stdout) as {
    readonly name: string;
    readonly kind: string;
    readonly folder: string;
    readonly files: readonly string[];
    readonly fetched: number;
  };
  assert.deepEqual([name, kind], ['org/model', 'model']);
  assert.ok(files.includes(join(folder, 'model.safetensors')));
  assert.ok(fetched > 100_000);
  assert.deepEqual(await readFile(join(folder, 'model.safetensors')), weights);
  const again = await run(['pull', 'org/model'], home);
  assert.match(again.stdout, /: \d+ files at [0-9a-f]{12}, all there already\n$/);
  const data = await run(['pull', 'org/pairs:test', '--data', '--revision', 'main', '--json'], home);
  assert.equal(data.code, 0, data.stderr);
  assert.match(data.stdout, /test\.jsonl/);
});

test('two processes at once fetch each file once, also when connections are cut', async (t) => {
  const { hub, model, run } = await hubOf(t);
  const weights = model.get('model.safetensors')!;
  hub.fault = ({ path, range }, response) => {
    if (!path.endsWith('model.safetensors') || range !== undefined) return false;
    cutAfter(response, weights, 200_000);
    return true;
  };
  const ended = await Promise.all([1, 2].map(() => run(['pull', 'org/model'])));
  for (const { code, stderr } of ended) assert.equal(code, 0, stderr);
  const downloads = hub.take().filter(({ path }) => path.includes('/resolve/'));
  assert.deepEqual(downloads.filter(({ path }) => path.endsWith('model.safetensors')).length, 2);
  const others = downloads.map(({ path }) => path).filter((path) => !path.endsWith('model.safetensors'));
  assert.equal(new Set(others).size, others.length);
});

test('push uploads a model with a card that says how it was made; pull and Node read it', async (t) => {
  const { hub, folder, run } = await hubOf(t);
  hub.commit(
    'models/org/model',
    new Map([
      ...hub.repositories.get('models/org/model')!.commits.values().next().value!,
      ['README.md', Buffer.from('---\nlicense: mit\n---\n')],
    ]),
  );
  const trained = await run([
    ...[
      'train',
      '--model',
      'org/model',
      '--data',
      'hf:org/pairs',
      '--output',
      'run',
      '--batch',
      '20',
      '--epochs',
      '1',
    ],
    ...['--chunk-sequences', '8', '--device', 'cpu', '--eval-data', 'hf:org/pairs:test', '--eval-before'],
  ]);
  assert.equal(trained.code, 0, trained.stderr);
  const token = { HF_TOKEN: 'hf_writer' };
  let busy = 2;
  hub.fault = ({ method }, response) => {
    if (method !== 'POST' || busy-- <= 0) return false;
    response.setHeader('retry-after', '0');
    refuse(response, 503, '', 'busy');
    return true;
  };
  const pushed = await run(['push', 'run/model', 'me/tuned', '--json'], token);
  assert.equal(pushed.code, 0, pushed.stderr);
  const { url, created, card, files } = JSON.parse(pushed.stdout) as Record<string, unknown>;
  assert.deepEqual([url, created, card], [`${hub.endpoint}/me/tuned`, true, 'made']);
  assert.ok((files as string[]).includes('README.md'));
  const pulled = await run(['pull', 'me/tuned', '--json'], token);
  const { folder: there } = JSON.parse(pulled.stdout) as { folder: string };
  for (const name of ['model.safetensors', 'tokenizer.json', 'modules.json', '1_Pooling/config.json'])
    assert.deepEqual(
      await readFile(join(there, name)),
      await readFile(join(folder, 'run', 'model', name)),
      name,
    );
  const text = await readFile(join(there, 'README.md'), 'utf8');
  const data = hub.repositories.get('datasets/org/pairs')!.refs.get('main')!;
  for (const expected of [
    /^---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n/,
    /\nbase_model: org\/model\nlicense: mit\ndatasets:\n {2}- org\/pairs\n---\n\n# tuned\n/,
    /await TextEncoder\.load\('hf:me\/tuned'\)/,
    /SentenceTransformer\("me\/tuned"\)/,
    new RegExp(`\\| data \\| hf:org/pairs@${data}/train\\.jsonl \\|`),
    /\| rows \| 60 \|\n\| updates \| 3 \|\n\| batch \| 20 \|/,
    /\| loss \| kind infonce, .*temperature/,
    /\| optimizer \| kind adamw, lr /,
    /## Scores on held-out data\n\n\| score \| before \| after \|\n\| --- \| --- \| --- \|\n\| recall@1 \| \d\.\d{4} \| \d\.\d{4} \|/,
    /## Licence\n\nmit, that of org\/model\./,
  ])
    assert.match(text, expected);
  assert.ok(!text.includes(folder), text);

  // The folder's own card wins, and a second commit replaces the first.
  await writeFile(join(folder, 'run', 'model', 'README.md'), '# Mine\n');
  const second = await run(['push', 'run/model', 'me/tuned'], token);
  assert.match(second.stdout, /me\/tuned: \d+ files, model card run\/model\/README\.md\n$/);
  await writeFile(join(folder, 'card.md'), '# Given\n');
  assert.equal((await run(['push', 'run/model', 'me/tuned', '--card', 'card.md'], token)).code, 0);
  const { folder: newest } = JSON.parse((await run(['pull', 'me/tuned', '--json'], token)).stdout) as {
    folder: string;
  };
  assert.equal(await readFile(join(newest, 'README.md'), 'utf8'), '# Given\n');
});

test('push refuses what cannot be uploaded', async (t) => {
  const { hub, folder, run } = await hubOf(t);
  hub.take();
  for (const [args, environment, code, told] of [
    [
      ['push', 'start', 'me/x'],
      {},
      1,
      /^HUB: An upload to me\/x needs a token, and there is none\. Make one that may write .*set HF_TOKEN/,
    ],
    [
      ['push', 'start', 'me/x'],
      { HF_TOKEN: 'wrong' },
      1,
      /^HUB: The token of HF_TOKEN is none of the hub: those begin with hf_/,
    ],
    [
      ['push', 'start', 'x'],
      {},
      2,
      /^INPUT: OWNER\/NAME is "x"; a name of the hub, such as owner\/name, is needed\./,
    ],
    [['push', 'home', 'me/x'], {}, 1, /^CHECKPOINT: home (cannot be read as a model folder|holds no model)/],
    [['push', 'start'], {}, 2, /^INPUT: OWNER\/NAME is needed\./],
    [
      ['push', 'start', 'org/model', '--private'],
      { HF_TOKEN: 'hf_writer' },
      1,
      /^INPUT: org\/model is to be private, and the hub has a public model/,
    ],
    [['push', 'start', 'me/x', '--card', 'none.md'], {}, 1, /^INPUT: none\.md cannot be read/],
  ] as const) {
    const ended = await run(args, environment);
    assert.match(ended.stderr, told);
    assert.equal(ended.code, code);
  }
  assert.ok(hub.take().every(({ method }) => method === 'GET'));
  hub.fault = ({ method }, response) => {
    if (method === 'POST') refuse(response, 403, '', 'You may only read');
    return method === 'POST';
  };
  const forbidden = await run(['push', 'start', 'me/x'], { HF_TOKEN: 'hf_reader' });
  assert.match(
    forbidden.stderr,
    /^HUB: The upload of me\/x was asked of http\S+: 403 Forbidden \("You may only read"\)/,
  );
  assert.doesNotMatch(forbidden.stderr, /hf_reader/);

  // As if @huggingface/hub were not installed.
  const hook = `import { register } from 'node:module'; register('data:text/javascript,' + encodeURIComponent(
    "export const resolve = (name, context, next) => { if (name === '@huggingface/hub') throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' }); return next(name, context); }"));`;
  await writeFile(join(folder, 'hook.mjs'), hook);
  const without = await run(['push', 'start', 'me/x'], {
    HF_TOKEN: 'hf_writer',
    NODE_OPTIONS: `--import ${join(folder, 'hook.mjs')}`,
  });
  assert.match(
    without.stderr,
    /^SETUP: Uploads need the package @huggingface\/hub, which cannot be loaded: .*npm install @huggingface\/hub/m,
  );
});
