/** A version of a kernel that nothing chooses is a slower one in its place, which no result tells. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from '../training/support.js';

const native = join(root, 'native');
const sources = readdirSync(native, { recursive: true, encoding: 'utf8' })
  .filter((name) => /\.(cc|h)$/.test(name) && !name.endsWith('versions.h'))
  .map((name) => readFileSync(join(native, name), 'utf8'));

test('each version of a kernel is chosen somewhere', () => {
  const unused: string[] = [];
  let declared = 0;
  for (const kernel of readdirSync(join(native, 'kernels'), { withFileTypes: true })) {
    if (!kernel.isDirectory()) continue;
    const folder = join(native, 'kernels', kernel.name);
    if (!readdirSync(folder).includes('versions.h')) continue;
    const header = readFileSync(join(folder, 'versions.h'), 'utf8');
    for (const [, version, body] of header.matchAll(/^namespace (cpu|cuda) \{(.*?)^\}/gms))
      for (const [, name] of body!.matchAll(/^decltype\(kernels::\w+\) (\w+);/gm)) {
        declared++;
        const chosen = new RegExp(`\\b${version}::${name}\\b`);
        if (!sources.some((source) => chosen.test(source)))
          unused.push(`${kernel.name}: ${version}::${name}`);
      }
  }
  assert.ok(declared > 20);
  assert.deepEqual(unused, []);
});
