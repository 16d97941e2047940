/** Tensors of a file whose bytes are read where they are asked for. */
import assert from 'node:assert/strict';
import { readdir, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readSafetensors, writeSafetensors, type StoredTensor } from '../../lib/safetensors/safetensors.js';
import { tensorsOnDemand } from '../../lib/safetensors/tensors-on-demand.js';
import { temporaryFolder, testFolder } from '../data/temporary-folder.js';
import { fails } from '../robustness/failures.js';

test('what is read on demand is what the file has, in its order', async (t) => {
  const path = join(await temporaryFolder(t), 'state.safetensors');
  const tensor = (dtype: 'float32' | 'int64', shape: number[], size: number): StoredTensor => ({
    dtype,
    shape,
    bytes: Uint8Array.from(
      { length: size * shape.reduce((product, each) => product * each, 1) },
      (_, k) => k * 7,
    ),
  });
  await writeSafetensors(path, [
    ['count', tensor('int64', [], 8)],
    ['weight', tensor('float32', [5, 3], 4)],
    ['none', tensor('float32', [0, 3], 4)],
  ]);
  const found = await tensorsOnDemand(path);
  const copies = Array.from(
    found,
    ([name, { dtype, shape, bytes }]) => [name, { dtype, shape, bytes }] as const,
  );
  assert.deepEqual(new Map(copies), await readSafetensors(path));
  assert.equal(found.get('weight')!.bytes, found.get('weight')!.bytes, 'held while it is in use');
});

test('a file that breaks a rule is refused at once, and one that is gone or cut where it is read', async (t) => {
  const hostile = join(testFolder, 'hostile');
  for (const name of await readdir(hostile))
    if (name.endsWith('.safetensors'))
      await assert.rejects(tensorsOnDemand(join(hostile, name)), fails('CHECKPOINT', /safetensors/));
  const path = join(await temporaryFolder(t), 'state.safetensors');
  await writeSafetensors(path, [['a', { dtype: 'uint8', shape: [9], bytes: new Uint8Array(9) }]]);
  const cut = await tensorsOnDemand(path);
  await truncate(path, 70);
  assert.throws(
    () => cut.get('a')!.bytes,
    fails('CHECKPOINT', /state\.safetensors.* it ended at byte \d+ while/),
  );
  await rm(path);
  assert.throws(
    () => cut.get('a')!.bytes,
    fails('CHECKPOINT', /state\.safetensors cannot be read: .*ENOENT/),
  );
});
