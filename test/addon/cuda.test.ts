import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'node:test';
import { GradCacheError } from '../../lib/errors.js';
import { devices, memory } from '../../lib/tensor/memory.js';
import { loadedLibtorch } from '../../lib/addon/native.js';
import { packageRoot } from '../../lib/addon/runtime/paths.js';
import { Tensor } from '../../lib/tensor/tensor.js';

// On a machine whose GPU works, the process is kept from seeing it: the errors are then those of a missing device.
process.env.CUDA_VISIBLE_DEVICES = '';

function unavailable(error: unknown): boolean {
  assert.ok(error instanceof GradCacheError);
  assert.equal(error.code, 'CUDA_UNAVAILABLE');
  const reason = loadedLibtorch().libtorch.cuda
    ? /no NVIDIA driver|libcuda\.so\.1|shows no device|no CUDA-capable device|library of CUDA kernels|update the driver/
    : /this libtorch is a build without CUDA\. Set GRADCACHE_LIBTORCH to a CUDA build, or install one/;
  assert.match(error.message, reason);
  assert.match(error.message, /npx gradcache doctor --device cuda/);
  return true;
}

test('a CUDA device that cannot be had is CUDA_UNAVAILABLE wherever it is asked for, never the CPU', () => {
  for (const device of ['cuda', 'cuda:0', 'cuda:3']) {
    assert.throws(() => Tensor.from([1, 2], { device }), unavailable);
    assert.throws(() => Tensor.from([1, 2]).to({ device }), unavailable);
    assert.throws(() => memory(device), unavailable);
  }
  assert.deepEqual(devices(), ['cpu']);
});

test('a device of another kind is refused by name', () => {
  const refused = { name: 'GradCacheError', code: 'DEVICE' };
  for (const device of ['xyz', 'cuda:x', 'mps', 'meta']) {
    assert.throws(() => Tensor.from([1], { device }), { ...refused, message: new RegExp(`'${device}'`) });
  }
});

test('the process ends as it should after such an error', () => {
  const library = pathToFileURL(join(packageRoot(), 'dist', 'lib', 'index.js')).href;
  const script = `import { Tensor } from '${library}';
    try { Tensor.from([1], { device: 'cuda' }); } catch (error) { console.log(error.code); }`;
  const result = spawnSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8' });
  assert.equal(result.status, 0, result.stderr);
  assert.equal(result.stdout.trim(), 'CUDA_UNAVAILABLE');
});
