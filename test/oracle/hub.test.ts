/** The cache of the hub, shared with Python's huggingface_hub, and models that are uploaded here and opened there. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pull, push, TextEncoder } from '../../lib/index.js';
import { filesOf, HubServer } from '../hub/hub-server.js';
import { saveTinyModel, temporaryFolder } from '../training/support.js';
import { askPython } from './hub-python.js';

async function hubWithModel(t: TestContext) {
  const hub = await HubServer.start(t);
  const folder = await temporaryFolder(t);
  const start = await saveTinyModel(join(folder, 'start'));
  const files = await filesOf(start);
  files.set('onnx/model.onnx', Buffer.from('the same weights'));
  const commit = hub.commit('models/org/model', files);
  const environment = hub.environment(join(folder, 'home'));
  hub.use(t, environment);
  return { hub, folder, start, commit, environment };
}

test('Python reads what was fetched here, and what Python has fetched is not fetched again', async (t) => {
  const { hub, folder, commit, environment } = await hubWithModel(t);
  const { folder: snapshot, files } = await pull('org/model');
  const offline = { ...environment, HF_HUB_OFFLINE: '1' };
  const found = (await askPython(offline, 'cached', 'org/model')) as {
    folder: string;
    warnings: string[];
    repositories: Record<string, { refs: object; revisions: Record<string, string[]> }>;
  };
  assert.equal(found.folder, snapshot);
  assert.deepEqual(found.warnings, []);
  const { refs, revisions } = found.repositories['model org/model']!;
  assert.deepEqual(refs, { main: commit });
  assert.deepEqual(revisions[commit], files.map((path) => path.slice(snapshot.length + 1)).sort());

  const other = { ...environment, HF_HOME: join(folder, 'other') };
  hub.take();
  const fetched = (await askPython(other, 'fetch', 'org/model')) as { folder: string };
  assert.ok(hub.take().some(({ path }) => path.includes('model.safetensors')));
  hub.use(t, other);
  const again = await pull('org/model', { renew: false });
  assert.deepEqual([again.folder, again.fetched], [fetched.folder, 0]);
  assert.deepEqual(hub.take(), []);
});

test('sentence-transformers opens by its name what was uploaded here, and gives the same vectors', async (t) => {
  const { hub, start, environment } = await hubWithModel(t);
  const token = { HF_TOKEN: 'hf_writer' };
  hub.use(t, token);
  await push(start, 'me/first');
  const model = await TextEncoder.load(start, { device: 'cpu' });
  const pushed = await model.push('me/second', { message: 'Second' });
  assert.equal(pushed.card, 'made');
  const text = 'the old dog is quiet';
  const tensor = await model.encode([text]);
  const own = [...((await tensor.values()) as Float32Array)];
  model.dispose();
  const names = ['me/first', 'me/second'];
  const { vectors } = (await askPython({ ...environment, ...token }, 'embed', names.join(), text)) as {
    vectors: number[][];
  };
  for (const [which, name] of names.entries())
    vectors[which]!.forEach((value, place) =>
      assert.ok(Math.abs(value - own[place]!) < 1e-5, `${name}: ${value}`),
    );
});
