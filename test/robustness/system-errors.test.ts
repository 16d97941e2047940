import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  GradCacheError,
  loadLoss,
  saveLoss,
  sigLIP,
  TextEncoder,
  readPairs,
  readSafetensors,
  Tokenizer,
  train,
  writeSafetensors,
} from '../../lib/index.js';
import { collect, temporaryFolder, testFolder } from '../data/temporary-folder.js';
import { FailingSystem } from '../files/system-faults.js';
import { openWriter, rowsOf } from '../vectors/writing.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';

const CONFIG = {
  model_type: 'bert',
  vocab_size: 8,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  intermediate_size: 16,
  max_position_embeddings: 16,
  type_vocab_size: 1,
};
const STORED = { dtype: 'float32', shape: [1], bytes: new Uint8Array(4) } as const;

test('whichever call of the system fails, what reaches the caller is a GradCacheError with a path', async (t) => {
  const home = await temporaryFolder(t);
  const model = TextEncoder.create(CONFIG, await smallTokenizer(8));
  const saved = join(home, 'model');
  await model.save(saved);
  await saveLoss(sigLIP(), home);
  const pairs = join(home, 'pairs.jsonl');
  writeFileSync(pairs, '{"anchor":"w1","positive":"w2"}\n{"anchor":"w3","positive":"w4"}\n');

  const works: Record<string, (folder: string) => Promise<unknown>> = {
    'load a model': () => TextEncoder.load(saved).then((loaded) => loaded.dispose()),
    'save a model': (folder) => model.save(join(folder, 'new')),
    'save over a model': () => model.save(saved),
    'load a tokenizer': () => Tokenizer.fromFile(join(saved, 'tokenizer.json')),
    'read weights': () => readSafetensors(join(saved, 'model.safetensors')),
    'write weights': (folder) => writeSafetensors(join(folder, 'w.safetensors'), [['w', STORED]]),
    'save a loss': (folder) => saveLoss(sigLIP(), folder),
    'load a loss': () => loadLoss(sigLIP(), home),
    'read Parquet': () => collect(readPairs(join(testFolder, 'data', 'fixtures', 'snappy.parquet'))),
    'write vectors': async (folder) => {
      const file = await openWriter(join(folder, 'v.npy'), { format: 'npy', saveEvery: 0 });
      try {
        await file.write(rowsOf('w1'), Float32Array.of(1), 1);
        await file.finish(1);
      } catch (error) {
        await file.abandon();
        throw error;
      }
    },
    train: (folder) =>
      train({
        model: saved,
        data: pairs,
        output: join(folder, 'run'),
        batch: 2,
        epochs: 1,
        device: 'cpu',
        checkpoint: { every: 1 },
      }),
  };

  const system = new FailingSystem(t);
  for (const [name, work] of Object.entries(works)) {
    system.failing = 0;
    system.calls = 0;
    await work(mkdtempSync(join(home, 'work-')));
    const { calls } = system;
    assert.ok(calls > 0, `${name} calls the system`);
    // A training has hundreds of calls, many of which are those of the others.
    const step = Math.ceil(calls / 25);
    for (let failing = 1; failing <= calls; failing += step) {
      system.calls = 0;
      system.failing = failing;
      const folder = mkdtempSync(join(home, 'work-'));
      const thrown: unknown = await work(folder).then(
        () => undefined,
        (error: unknown) => error,
      );
      system.failing = 0;
      (await TextEncoder.load(saved)).dispose(); // whatever failed, the model is whole
      if (thrown === undefined) continue; // what is only tidied, or looked at, may fail
      const where = `${name}: ${system.failed}`;
      assert.ok(thrown instanceof GradCacheError, `${where}: ${(thrown as Error).stack}`);
      assert.match(thrown.message, /EIO/, where);
      assert.ok(thrown.message.includes('/'), `${where}: ${thrown.message}`);
    }
  }
});
