/** Vectors in other types, compared with `quantize_embeddings` of sentence-transformers, and read by NumPy. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../training/support.js';
import { openWriter } from '../vectors/writing.js';
import { pythonEnvironment } from './python.js';

const DIMENSION = 13;
const ROWS = 200;
const TYPES = ['float32', 'float16', 'int8', 'uint8', 'binary', 'ubinary'] as const;

/** For each type whether NumPy reads what was written as what it makes of the same vectors, and with the stored ranges. */
const PROGRAM = `
import json, os, sys, types
import numpy as np
# The package imports transformers when it is opened; what is needed of it does not.
for name in ('sentence_transformers', 'sentence_transformers.util'):
    package = types.ModuleType(name)
    package.__path__ = [os.path.join(folder, *name.split('.')) for folder in sys.path]
    sys.modules[name] = package
from safetensors.numpy import load_file
from sentence_transformers.util.quantization import quantize_embeddings
folder = sys.argv[1]
vectors = np.fromfile(folder + '/vectors', dtype='<f4').reshape(${ROWS}, ${DIMENSION})
found = {}
for name in sys.argv[2:]:
    if name == 'float16':
        expected = vectors.astype(np.float16)
    elif name.endswith('int8'):
        ranges = np.load(f'{folder}/{name}.npy.ranges.npy')
        assert (ranges == np.vstack((vectors[:50].min(axis=0), vectors[:50].max(axis=0)))).all()
        expected = quantize_embeddings(vectors, name, calibration_embeddings=vectors[:50])
        assert (quantize_embeddings(vectors, name, ranges=ranges) == expected).all()
    else:
        expected = quantize_embeddings(vectors, name)
    for read in (np.load(f'{folder}/{name}.npy'), load_file(f'{folder}/{name}.safetensors')['embeddings']):
        assert read.dtype == expected.dtype and read.shape == expected.shape, (name, read.dtype, expected.dtype, read.shape)
        found[name] = found.get(name, True) and bool((read == expected).all())
print(json.dumps(found))
`;

test('all types equal those of sentence-transformers, bit for bit', async (t) => {
  const folder = await temporaryFolder(t);
  // Not random, so that a failure can be repeated; some lie outside the ranges of the first 50 rows.
  const vectors = Float32Array.from({ length: ROWS * DIMENSION }, (_, k) =>
    k % 29 === 0 ? 0 : Math.sin(k * k) * (1 + k / 1000),
  );
  await writeFile(join(folder, 'vectors'), Buffer.from(vectors.buffer));
  const rows = Array.from({ length: ROWS }, (_, k) => ({ text: `${k}`, place: `line ${k}`, kept: {} }));
  for (const type of TYPES)
    for (const format of ['npy', 'safetensors'] as const) {
      const writer = await openWriter(join(folder, `${type}.${format}`), {
        format,
        type,
        calibrationRows: 50,
      });
      await writer.prepare(DIMENSION);
      for (let begin = 0; begin < ROWS; begin += 40)
        await writer.write(
          rows.slice(begin, begin + 40),
          vectors.subarray(begin * DIMENSION, (begin + 40) * DIMENSION),
          DIMENSION,
        );
      await writer.finish(DIMENSION);
    }
  const python = process.env.GRADCACHE_PYTHON || 'python3';
  const { stdout, stderr, status } = spawnSync(python, ['-c', PROGRAM, folder, ...TYPES], {
    env: pythonEnvironment(),
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  assert.deepEqual(JSON.parse(stdout), Object.fromEntries(TYPES.map((type) => [type, true])));
});
