import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertPlatform, currentPlatform, platformProblem } from '../../lib/runtime/platform.js';

const linux = { system: 'linux', architecture: 'x64', glibc: '2.36' };

test('the platform the tests run on is fit, and states its C library', () => {
  assert.match(currentPlatform().glibc ?? '', /^2\.\d+$/);
  assertPlatform();
});

test('musl is refused in one sentence that names the image to use', () => {
  assert.match(platformProblem({ ...linux, glibc: null }) ?? '', /musl .*glibc only.*node:22-bookworm-slim/);
  assert.throws(() => assertPlatform({ ...linux, glibc: null }), { code: 'LIBTORCH_LOAD' });
});

test('another operating system is refused by name', () => {
  assert.match(
    platformProblem({ ...linux, system: 'darwin', glibc: null }) ?? '',
    /runs on Linux; this is darwin-x64/,
  );
  assert.equal(platformProblem(linux), null);
});
