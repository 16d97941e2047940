import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz } from './fuzz.js';
import { targets } from './targets.js';

const SEED = 1;

for (const [name, load] of Object.entries(targets)) {
  const { count, least } = await load();
  if (count === 0) continue; // by hand alone
  test(`${name}: odd inputs get an answer or a typed error`, async () => {
    const { answered, refused, failures } = await fuzz(name, { seed: SEED, count });
    const shown = failures.map(({ number, what }) => `--seed ${SEED} --only ${number}: ${what}`);
    assert.equal(failures.length, 0, shown.join('\n\n'));
    assert.equal(answered + refused, count);
    assert.ok(answered >= (least?.answered ?? 1), `${answered} inputs were answered`);
    assert.ok(refused >= (least?.refused ?? 1), `${refused} inputs were refused`);
  });
}
