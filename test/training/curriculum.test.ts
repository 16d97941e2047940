import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { digests, record, shortRun } from './support.js';

test('texts become longer while batches hold as many tokens; a resumed run makes the same updates', async (t) => {
  const { config } = await shortRun(t);
  const settings = {
    ...config,
    batch: 40,
    steps: 7,
    schedule: { kind: 'constant', warmup: 0 },
    checkpoint: { every: 2 },
    curriculum: { from: 4, to: 9, over: 4, tokens: 120 },
  } as const;
  const whole = { ...settings, output: `${config.output}-whole` };
  const { steps } = await record(whole);
  for (const { tokens, pairs } of steps) {
    assert.ok(pairs <= 40 && pairs >= 2);
    assert.ok(tokens >= 60 && tokens < 120 + 18, `${tokens} tokens`);
  }
  const [first, last] = [steps[0]!, steps.at(-1)!];
  assert.ok(first.tokens / first.pairs <= 8, 'at most 4 tokens a text');
  assert.ok(last.tokens / last.pairs > 9, 'longer texts in the end');
  assert.ok(first.pairs > last.pairs);
  assert.ok(first.truncated > 0 && last.truncated === 0);

  await record({ ...settings, steps: 4 });
  const { steps: after } = await record({ output: settings.output, resume: true, steps: 7 });
  assert.deepEqual(
    after.map(({ loss, pairs, tokens }) => [loss, pairs, tokens]),
    steps.slice(4).map(({ loss, pairs, tokens }) => [loss, pairs, tokens]),
  );
  assert.deepEqual(await digests(join(settings.output, 'model')), await digests(join(whole.output, 'model')));
});

test('a curriculum that does not fit is refused before anything is trained', async (t) => {
  const { config } = await shortRun(t);
  const curriculum = { from: 4, over: 4, tokens: 100 };
  const refusals: [object, RegExp][] = [
    [{ curriculum: { over: 4, tokens: 100 } }, /curriculum\.from is missing/],
    [{ curriculum: { ...curriculum, to: 3 } }, /curriculum\.to is 3/],
    [{ curriculum: { ...curriculum, to: 33 } }, /curriculum\.to is 33; a whole number to 32/],
    [{ curriculum: { ...curriculum, from: 40 } }, /curriculum\.from is 40; a whole number to 32/],
    [{ curriculum: { ...curriculum, until: 9 } }, /until/],
    [{ curriculum, steps: undefined, epochs: 2 }, /curriculum needs the length of the run/],
  ];
  for (const [settings, message] of refusals)
    await assert.rejects(record({ ...config, ...settings }), { code: 'INPUT', message });
});
