import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { GradCacheError, pull, type HubProgress, type PullOptions } from '../../lib/index.js';
import { hubSettings } from '../../lib/hub/hub-settings.js';
import { upload } from '../../lib/hub/upload.js';
import { temporaryFolder } from '../training/support.js';
import { cutAfter, filesOf, HubServer, refuse } from './hub-server.js';

/** A model's files as far as names go, with what no loading needs. */
const MODEL = {
  '.gitattributes': '* text',
  'README.md': '---\nlicense: apache-2.0\n---\n',
  'config.json': '{"model_type":"bert"}',
  'tokenizer.json': '{}',
  'tokenizer_config.json': '{}',
  'vocab.txt': '[PAD]\n',
  'modules.json': '[{"idx":0,"path":""},{"idx":1,"path":"1_Pooling"},{"idx":2,"path":"2_Dense"}]',
  'config_sentence_transformers.json': '{}',
  'sentence_bert_config.json': '{}',
  '1_Pooling/config.json': '{}',
  '2_Dense/config.json': '{}',
  '2_Dense/pytorch_model.bin': 'weights of a module',
  'model.safetensors': Buffer.alloc(300_000, 'weights'),
  'pytorch_model.bin': 'the same weights',
  'tf_model.h5': 'the same weights',
  'onnx/model.onnx': 'the same weights',
  'onnx/config.json': '{}',
  'openvino/openvino_model.bin': 'the same weights',
  'train_script.py': 'print()',
};
const NEEDED = Object.keys(MODEL).filter(
  (path) => !/^(\.git|pytorch_model|tf_|onnx|openvino|train_)/.test(path),
);
const WEIGHTS = MODEL['model.safetensors'];

/** A hub with the model `org/model`, and an empty cache. */
async function hubWithModel(t: TestContext): Promise<{ hub: HubServer; home: string; commit: string }> {
  const hub = await HubServer.start(t);
  const commit = hub.commit('models/org/model', MODEL);
  const home = await temporaryFolder(t);
  hub.use(t, hub.environment(home));
  return { hub, home, commit };
}

async function failure(name: string, options?: PullOptions): Promise<GradCacheError> {
  const error = await pull(name, options).then(
    () => assert.fail('it succeeded'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof GradCacheError, String(error));
  return error;
}

const isDownload = ({ path }: { path: string }): boolean => path.includes('/resolve/');

test('a model of pictures beside a text model is fetched with it', async (t) => {
  const { hub } = await hubWithModel(t);
  const beside = ['config.json', 'preprocessor_config.json', 'model.safetensors'].map(
    (name) => `image_model/${name}`,
  );
  hub.commit('models/org/pair', {
    ...MODEL,
    ...Object.fromEntries(beside.map((path) => [path, '{}'])),
    'image_model/pytorch_model.bin': 'the same weights',
  });
  const { folder } = await pull('org/pair');
  assert.deepEqual([...(await filesOf(folder)).keys()].sort(), [...NEEDED, ...beside].sort());
});

test('a model is fetched in the layout of huggingface_hub, without what is not needed, and once', async (t) => {
  const { hub, home, commit } = await hubWithModel(t);
  const told: HubProgress[] = [];
  const pulled = await pull('org/model', { onProgress: (progress) => told.push(progress) });
  const cache = join(home, 'hub', 'models--org--model');
  assert.equal(pulled.folder, join(cache, 'snapshots', commit));
  assert.equal(pulled.commit, commit);
  assert.deepEqual([...(await filesOf(pulled.folder)).keys()].sort(), [...NEEDED].sort());
  assert.deepEqual(await readFile(join(pulled.folder, 'model.safetensors')), WEIGHTS);
  assert.equal(await readFile(join(cache, 'refs', 'main'), 'utf8'), commit);
  for (const path of NEEDED) {
    const link = join(pulled.folder, path);
    assert.ok((await lstat(link)).isSymbolicLink(), path);
    assert.match(await readlink(link), /^(\.\.\/)+blobs\/([0-9a-f]{40}|[0-9a-f]{64})$/);
  }
  assert.deepEqual(
    (await readdir(join(cache, 'blobs'))).filter((name) => name.includes('.')),
    [],
  );
  const { bytes, totalBytes, files, totalFiles } = told.at(-1)!;
  assert.deepEqual([bytes, files], [totalBytes, totalFiles]);
  assert.equal(totalFiles, NEEDED.length);

  // A packed answer would be counted otherwise.
  const downloads = hub.take().filter(isDownload);
  assert.ok(downloads.every(({ encoding }) => encoding === 'identity'));
  const again = await pull('hf:org/model@main', { renew: false });
  assert.deepEqual({ ...again, fetched: pulled.fetched }, pulled);
  assert.equal(again.fetched, 0);
  assert.deepEqual(await pull(`org/model@${commit}`, { renew: false }), again);
  assert.deepEqual(hub.take(), []);
});

test('pull asks for what a branch names now; what has not changed is not fetched again', async (t) => {
  const { hub } = await hubWithModel(t);
  const { commit } = await pull('org/model');
  hub.commit('models/org/model', { ...MODEL, 'config.json': '{"model_type":"roberta"}' });
  assert.equal((await pull('org/model', { renew: false })).commit, commit);
  hub.take();
  const renewed = await pull('org/model');
  assert.notEqual(renewed.commit, commit);
  assert.deepEqual(
    hub
      .take()
      .filter(isDownload)
      .map(({ path }) => path.split('/').at(-1)),
    ['config.json'],
  );
  assert.equal((await pull('org/model', { renew: false })).commit, renewed.commit);
  // The old commit stays.
  assert.equal((await pull(`org/model@${commit}`, { renew: false })).fetched, 0);
});

test('branches, tags and requests for changes are revisions, and a list of files may have pages', async (t) => {
  const { hub, home } = await hubWithModel(t);
  hub.pageSize = 4;
  for (const revision of ['v1.0', 'refs/pr/1']) {
    const commit = hub.commit('models/org/model', { ...MODEL, 'vocab.txt': revision }, revision);
    const { folder } = await pull(`org/model@${revision}`);
    assert.equal(await readFile(join(folder, 'vocab.txt'), 'utf8'), revision);
    const ref = join(home, 'hub', 'models--org--model', 'refs', revision);
    assert.equal(await readFile(ref, 'utf8'), commit);
  }
});

test('a connection that is cut is taken up where it ended', async (t) => {
  const { hub } = await hubWithModel(t);
  const cuts: (string | undefined)[] = [];
  hub.fault = ({ path, range }, response) => {
    if (!path.endsWith('model.safetensors')) return false;
    cuts.push(range);
    if (cuts.length > 3) return false;
    const from = Number(/\d+/.exec(range ?? '0')![0]);
    cutAfter(response, WEIGHTS, 50_000, from);
    return true;
  };
  const { folder } = await pull('org/model');
  assert.deepEqual(await readFile(join(folder, 'model.safetensors')), WEIGHTS);
  assert.deepEqual(cuts, [undefined, 'bytes=50000-', 'bytes=100000-', 'bytes=150000-']);
});

test('a download that ended is taken up by the next; a server without ranges starts anew', async (t) => {
  const { hub, home } = await hubWithModel(t);
  const controller = new AbortController();
  hub.fault = ({ path }, response) => {
    if (!path.endsWith('model.safetensors')) return false;
    response.writeHead(200, { 'content-length': WEIGHTS.length });
    response.write(WEIGHTS.subarray(0, 70_000)); // and then nothing
    return true;
  };
  const onProgress = ({ bytes }: HubProgress): void => {
    if (bytes >= 70_000) controller.abort();
  };
  const stopped = await failure('org/model', { signal: controller.signal, onProgress });
  assert.equal(stopped.code, 'ABORTED');
  const blobs = join(home, 'hub', 'models--org--model', 'blobs');
  const [partial] = (await readdir(blobs)).filter((name) => name.endsWith('.incomplete'));
  assert.equal((await lstat(join(blobs, partial!))).size, 70_000);
  assert.equal(existsSync(join(home, 'hub', 'models--org--model', 'refs', 'main')), false);

  hub.take();
  let ranged = '';
  hub.fault = ({ path, range }, response) => {
    if (!path.endsWith('model.safetensors')) return false;
    ranged = range ?? '';
    response.end(WEIGHTS); // all of it, with status 200
    return true;
  };
  const { folder } = await pull('org/model');
  assert.equal(ranged, 'bytes=70000-');
  assert.deepEqual(await readFile(join(folder, 'model.safetensors')), WEIGHTS);
});

test('bytes that have another digest are asked for a second time and never kept', async (t) => {
  for (const wrong of ['model.safetensors', 'config.json']) {
    const { hub, home } = await hubWithModel(t);
    const right = Buffer.from(MODEL[wrong as keyof typeof MODEL]);
    let count = 0;
    hub.fault = ({ path }, response) => {
      if (!path.endsWith(`/${wrong}`)) return false;
      count++;
      response.end(Buffer.alloc(right.length, 'x'));
      return true;
    };
    const { code, message } = await failure('org/model');
    assert.equal(code, 'HUB');
    assert.match(
      message,
      /org\/model was asked of http:\/\/127.*, 2 times, and what came is not the file that the hub lists/,
    );
    assert.equal(count, 2);
    const blobs = join(home, 'hub', 'models--org--model', 'blobs');
    for (const name of await readdir(blobs))
      assert.notEqual((await readFile(join(blobs, name)))[0], 'x'.charCodeAt(0));
    hub.fault = () => false;
    assert.deepEqual(await readFile(join((await pull('org/model')).folder, wrong)), right);
  }
});

test('what passes is tried again, as long after as the hub asks; what stays is told with its number of tries', async (t) => {
  const { hub } = await hubWithModel(t);
  let times: number[] = [];
  hub.fault = ({ path }, response) => {
    if (!path.endsWith('config.json') || path.includes('_')) return false;
    times.push(performance.now());
    if (times.length > 1) return false;
    response.setHeader('retry-after', '1');
    refuse(response, 429, '', 'Too many requests');
    return true;
  };
  const waits: string[] = [];
  await pull('org/model', { onWait: (message) => waits.push(message) });
  assert.ok(times[1]! - times[0]! > 950, `${times[1]! - times[0]!} ms`);
  assert.deepEqual(waits, ['config.json of org/model: 429 Too Many Requests; next try in 1 s']);

  for (const status of [429, 503]) {
    times = [];
    hub.fault = ({ path }, response) => {
      if (!path.includes('/revision/')) return false;
      times.push(0);
      response.setHeader('retry-after', '0');
      refuse(response, status, '', 'busy');
      return true;
    };
    const { code, message } = await failure('org/model');
    assert.equal(code, 'HUB');
    assert.equal(times.length, 5);
    assert.match(
      message,
      /^The revision main of org\/model was asked of http:\/\/127\S+, 5 times: \d+ .*\("busy"\)\./,
    );
    assert.match(message, /What the cache has of its commit [0-9a-f]{40} is in \S+snapshots/);
  }
});

test('a refusal says what was asked of whom, and what to do', async (t) => {
  const { hub, home } = await hubWithModel(t);
  const private_ = hub.repositories.get('models/org/model')!;
  private_.token = 'hf_right';
  const file = join(home, 'token').replaceAll('.', '\\.');
  assert.match(
    (await failure('org/model')).message,
    new RegExp(
      `: 401 Unauthorized.*Set HF_TOKEN, or put a token into ${file}.* Nothing of it is in the cache\\.$`,
    ),
  );
  hub.use(t, { HF_TOKEN: 'hf_wrong' });
  const wrong = await failure('org/model');
  assert.match(wrong.message, /: 404 Not Found.*whether the token of HF_TOKEN is valid/);
  assert.doesNotMatch(wrong.message, /hf_wrong/);
  hub.use(t, { HF_TOKEN: '' });
  await writeFile(join(home, 'token'), 'hf_right\n');
  hub.take();
  await pull('org/model');
  assert.ok(hub.take().every(({ authorization }) => authorization === 'Bearer hf_right'));

  assert.match(
    (await failure('org/model@v9')).message,
    /The revision v9 .*: 404 Not Found.*There is no such revision/,
  );
  hub.fault = ({ path }, response) => {
    if (!path.includes('/revision/')) return false;
    refuse(response, 403, 'GatedRepo', 'Access to model org/model is restricted');
    return true;
  };
  assert.match((await failure('org/model')).message, /403 Forbidden.*restricted.*accept the conditions/);
  hub.fault = (_, response) => {
    response.end('<html>');
    return true;
  };
  assert.match(
    (await failure('org/model')).message,
    /is not that of a Hugging Face hub: it is no JSON.*HF_ENDPOINT/,
  );
});

test('the token does not go to the host of a redirect', async (t) => {
  const { hub } = await hubWithModel(t);
  hub.use(t, { HF_TOKEN: 'hf_right' });
  const seen: (string | undefined)[] = [];
  const store = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.end(WEIGHTS);
  });
  await new Promise<void>((resolve) => store.listen(0, '127.0.0.1', resolve));
  t.after(() => store.close());
  hub.fault = ({ path }, response) => {
    if (!path.endsWith('model.safetensors')) return false;
    response.writeHead(302, {
      location: `http://127.0.0.1:${(store.address() as AddressInfo).port}/weights`,
    });
    response.end();
    return true;
  };
  await pull('org/model');
  assert.deepEqual(seen, [undefined]);
});

test('a list of files that leads out of the cache, or has no digests, is refused', async (t) => {
  const { hub, home } = await hubWithModel(t);
  const good = { type: 'file', path: 'config.json', size: 2, oid: 'a'.repeat(40) };
  for (const [entry, told] of [
    [{ ...good, path: '../../config.json' }, /has a file "\.\.\/\.\.\/config\.json"/],
    [{ ...good, path: '/etc/config.json' }, /has a file/],
    [{ ...good, path: 7 }, /has a file 7/],
    [{ ...good, size: -1 }, /has -1 bytes/],
    [{ ...good, oid: '../x' }, /has the digest "\.\.\/x"/],
    [{ ...good, lfs: { oid: 'a'.repeat(40), size: 2 } }, /has the digest/],
    [null, /has a file/],
  ] as const) {
    hub.fault = ({ path }, response) => {
      if (!path.includes('/tree/')) return false;
      response.end(JSON.stringify([entry]));
      return true;
    };
    const { code, message } = await failure('org/model');
    assert.equal(code, 'HUB');
    assert.match(message, told);
  }
  assert.deepEqual(await readdir(home), ['hub']);
});

test('a hub that is silent, or not there, is told as such', async (t) => {
  const { hub } = await hubWithModel(t);
  hub.use(t, { HF_HUB_DOWNLOAD_TIMEOUT: '0.05' });
  hub.fault = () => true; // never answered
  const silent = failure('org/model');
  // Seconds pass between the tries, and a call has read its settings when it returns.
  hub.use(t, { HF_HUB_DOWNLOAD_TIMEOUT: '', HF_ENDPOINT: 'http://127.0.0.1:1' });
  const { code, message } = await failure('org/other');
  assert.match((await silent).message, /5 times: nothing came for 0\.05 s\. Check the connection/);
  assert.equal(code, 'HUB');
  assert.match(message, /was asked of http:\/\/127\.0\.0\.1:1\/\S+, 5 times: .*(ECONNREFUSED|bad port)/);
});

test('offline, the cache is used and nothing is asked for', async (t) => {
  const { hub, home } = await hubWithModel(t);
  hub.use(t, { HF_HUB_OFFLINE: '1' });
  const none = await failure('org/model');
  assert.equal(none.code, 'HUB');
  assert.match(
    none.message,
    /^hf:org\/model is not in the cache, \S+, and HF_HUB_OFFLINE .* forbids to ask for it\. Nothing of it/,
  );
  hub.use(t, { HF_HUB_OFFLINE: '' });
  await pull('org/model');
  hub.take();
  hub.use(t, { HF_HUB_OFFLINE: 'yes' });
  assert.equal((await pull('org/model')).fetched, 0);
  // A snapshot of Python, which keeps no list of a model that it fetched file by file.
  const cache = join(home, 'hub', 'models--org--model');
  await rm(join(cache, '.gradcache'), { recursive: true });
  assert.match((await pull('org/model')).folder, /snapshots/);
  // Without modules.json it is a matter of who looked for it.
  await rm(join((await pull('org/model')).folder, 'modules.json'));
  assert.equal((await failure('org/model')).code, 'HUB');
  const commit = await readFile(join(cache, 'refs', 'main'), 'utf8');
  await mkdir(join(cache, '.no_exist', commit), { recursive: true });
  await writeFile(join(cache, '.no_exist', commit, 'modules.json'), '');
  assert.match((await pull('org/model')).folder, /snapshots/);
  assert.deepEqual(hub.take(), []);
});

test('of several calls that want the same, one downloads', async (t) => {
  const { hub } = await hubWithModel(t);
  const waits: string[] = [];
  const calls = Array.from({ length: 4 }, () =>
    pull('org/model', { renew: false, onWait: (message) => waits.push(message) }),
  );
  const folders = new Set((await Promise.all(calls)).map(({ folder }) => folder));
  assert.equal(folders.size, 1);
  const paths = hub.take().map(({ path }) => path);
  assert.deepEqual([...new Set(paths)], paths);
  assert.ok(waits.every((message) => message === 'waiting for another call, which downloads it'));
});

test('names and variables that make no sense are refused', async (t) => {
  const { hub } = await hubWithModel(t);
  for (const name of [
    '',
    'org/',
    '/model',
    'a/b/c',
    '../x',
    'org/..',
    'org/model@',
    'org/model@../..',
    'org/a--b',
    '-a/b',
  ])
    assert.match(
      (await failure(name)).message,
      /^name is .*; hf:OWNER\/NAME or hf:OWNER\/NAME@REVISION is needed\.$/,
      name,
    );
  for (const [environment, told] of [
    [{ HF_ENDPOINT: 'nowhere' }, /^HF_ENDPOINT is "nowhere"/],
    [{ HF_HUB_DOWNLOAD_TIMEOUT: 'soon' }, /^HF_HUB_DOWNLOAD_TIMEOUT is "soon"/],
    [{ HF_TOKEN: 'hf_one\nhf_two' }, /^the token in HF_TOKEN is "13 characters"/],
  ] as const) {
    const before = { ...process.env };
    Object.assign(process.env, environment);
    const { code, message } = await failure('org/model');
    for (const key of Object.keys(environment)) process.env[key] = before[key] ?? '';
    assert.equal(code, 'INPUT');
    assert.match(message, told);
  }
  assert.deepEqual(hub.take(), []);
});

test('a cache that cannot be written is told as such', async (t) => {
  const { hub, home } = await hubWithModel(t);
  await writeFile(join(home, 'file'), '');
  hub.use(t, { HF_HUB_CACHE: join(home, 'file', 'cache') });
  const { code, message } = await failure('org/model');
  assert.equal(code, 'INPUT');
  assert.match(message, /cannot be (read|written): ENOTDIR/);
});

test('a signal of another realm ends a download and a wait', async (t) => {
  const { hub } = await hubWithModel(t);
  hub.fault = ({ path }, response) => {
    if (!path.endsWith('config.json')) return false;
    response.setHeader('retry-after', '100');
    refuse(response, 429, '', 'busy');
    return true;
  };
  const listeners: (() => void)[] = [];
  const signal = {
    aborted: false,
    addEventListener: (_: string, listener: () => void) => listeners.push(listener),
    removeEventListener: () => undefined,
  };
  const stop = (): void => {
    signal.aborted = true;
    for (const listener of listeners) listener();
  };
  const { code } = await failure('org/model', { signal: signal as never, onWait: stop });
  assert.equal(code, 'ABORTED');
});

test('an upload to what is no hub is told at once, and nothing is sent', async (t) => {
  const { hub } = await hubWithModel(t);
  hub.use(t, { HF_TOKEN: 'hf_writer' });
  hub.fault = (_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<html>Sign in</html>');
    return true;
  };
  await assert.rejects(
    upload(
      { settings: hubSettings(), signal: undefined },
      { name: 'me/model', files: [], isPrivate: false, message: 'A model' },
    ),
    { code: 'HUB', message: /The model me\/model .*is not that of a Hugging Face hub: it is no JSON/ },
  );
  assert.equal(hub.take().length, 1);
});
