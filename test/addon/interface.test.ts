import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { INTERFACE } from '../../lib/addon/interface.js';
import { loadAddon, requireInterface } from '../../lib/addon/runtime/load.js';
import { packageRoot } from '../../lib/addon/runtime/paths.js';

interface Script {
  readonly checkInterface: () => Promise<void>;
  readonly declaredInterface: (text?: string) => Promise<string>;
}

const root = packageRoot();
const script = (await import(pathToFileURL(join(root, 'scripts', 'addon-interface.mjs')).href)) as Script;

test('an addon that was compiled for other declarations is refused, with what to do', () => {
  assert.equal((loadAddon().addon as { interface: string }).interface, INTERFACE);
  for (const addon of [{}, { interface: 'of another version' }]) {
    assert.throws(() => requireInterface('/some/gradcache.node', addon), {
      code: 'LIBTORCH_LOAD',
      message:
        /^\/some\/gradcache\.node was compiled for another version .*npm run compile.*npm install gradcache/s,
    });
  }
});

test('the digest is that of the declarations, which any change of a type changes and a comment does not', async () => {
  await script.checkInterface();
  const text = readFileSync(join(root, 'lib', 'addon', 'native.ts'), 'utf8');
  const declared = await script.declaredInterface();
  const changed = (from: RegExp, to: string) => script.declaredInterface(text.replace(from, to));
  assert.equal(await changed(/\/\*\* What the addon exports\. \*\//, '/** Another comment. */'), declared);
  assert.equal(await changed(/let loaded:/, 'let loadedOnce:'), declared);
  assert.notEqual(await changed(/ {2}threads\(count\?: number\): number;\n/, ''), declared);
  assert.notEqual(await changed(/\(count\?: number\)/, '(count: number)'), declared);
});
