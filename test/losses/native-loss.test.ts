import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tensor } from '../../lib/index.js';
import { guardedAsync, native, type LossSettings } from '../../lib/addon/native.js';

const common = { scale: 2, cosine: true, weight: 1, learned: false };

function compute(name: string, settings: unknown): Promise<{ loss: number }> {
  const rows = [1, 2].map((seed) =>
    Tensor.from(
      Float32Array.from({ length: 6 }, (_, i) => Math.sin(seed + i)),
      { shape: [3, 2] },
    ),
  );
  const handles = rows.map(({ handle }) => handle);
  return guardedAsync(() => native().loss(name, handles, settings as LossSettings));
}

test('the native code knows losses and their settings by name, and refuses all others by name', async () => {
  const good = {
    ...common,
    docToQuery: false,
    queryToQuery: false,
    docToDoc: false,
    joint: true,
    hardness: 'none',
    hardnessStrength: 0,
    margin: 0,
    labelSmoothing: 0,
  };
  assert.ok((await compute('info_nce', good)).loss > 0);
  assert.ok((await compute('info_nce', { ...good, targets: null })).loss > 0, 'null is not given');
  const without = (name: string) => Object.fromEntries(Object.entries(good).filter(([key]) => key !== name));
  const cases: [string, unknown, RegExp][] = [
    ['no_such_loss', good, /no_such_loss/],
    ['info_nce', { ...good, joined: true }, /has no setting 'joined'/],
    ['info_nce', { ...good, scale: '2' }, /'scale' .* must be a number/],
    ['info_nce', { ...good, scale: NaN }, /scale .* nan/],
    ['info_nce', { ...good, joint: { yes: 1 } }, /'joint'/],
    ['info_nce', null, /settings of the loss info_nce must be an object/],
    ...Object.keys(good).map((name): [string, unknown, RegExp] => [
      'info_nce',
      without(name),
      new RegExp(`needs the setting '${name}'`),
    ]),
  ];
  for (const [name, settings, message] of cases)
    await assert.rejects(compute(name, settings), { name: 'GradCacheError', code: 'INPUT', message });
});
