import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../../lib/addon/runtime/paths.js';
import {
  assertPlatform,
  currentPlatform,
  nodeProblem,
  platformProblem,
} from '../../lib/addon/runtime/platform.js';

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

test('the Node.js that is run on, and those that package.json states, serve; others are refused by name', () => {
  assert.equal(nodeProblem(), null);
  const manifest = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  assert.deepEqual(manifest.engines, { node: '^20.19 || >=22.12' });
  for (const good of ['20.19.0', '20.20.2', '22.12.0', '22.20.1', '23.0.0', '24.11.0'])
    assert.equal(nodeProblem(good), null);
  for (const bad of ['18.20.0', '20.18.3', '21.7.3', '22.0.0', '22.11.0'])
    assert.match(
      nodeProblem(bad) ?? '',
      new RegExp(`20\\.19 .*22\\.12 .* this is ${bad.replaceAll('.', '\\.')}`),
    );
});
