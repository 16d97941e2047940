import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planChunks } from '../../lib/index.js';

const lengths = (count: number, length: (row: number) => number) =>
  Int32Array.from({ length: count }, (_, k) => length(k));
const shape = (plan: readonly { rows: Int32Array; tokens: number }[]) =>
  plan.map(({ rows, tokens }) => [rows.length, tokens]);

test('rows are taken longest first, each once, and equal ones in their order', () => {
  const plan = planChunks(Int32Array.of(3, 9, 3, 1, 9), { sequences: 2 });
  assert.deepEqual(
    plan.map(({ rows }) => [...rows]),
    [[1, 4], [0, 2], [3]],
  );
  assert.deepEqual(
    plan.map(({ tokens }) => tokens),
    [18, 6, 1],
  );
});

test('by tokens, chunks share the tokens evenly and none goes beyond the size', () => {
  // 1000 rows of 10: the size would leave a scrap of 100 tokens behind three chunks of 3,300.
  assert.deepEqual(
    shape(
      planChunks(
        lengths(1000, () => 10),
        { tokens: 3300 },
      ),
    ),
    [
      [250, 2500],
      [250, 2500],
      [250, 2500],
      [250, 2500],
    ],
  );
  const plan = planChunks(
    lengths(5000, (row) => 1 + ((row * 7919) % 200)),
    { tokens: 4096 },
  );
  const tokens = plan.map((chunk) => chunk.tokens);
  const total = tokens.reduce((sum, count) => sum + count, 0);
  assert.ok(plan.length <= Math.ceil(total / (4096 - 200)), String(plan.length));
  assert.ok(Math.max(...tokens) <= 4096);
  assert.ok(Math.min(...tokens) > 0.9 * (total / plan.length), String(tokens));
});

test('a row longer than the size is a chunk by itself, and a size beyond the batch is one chunk', () => {
  assert.deepEqual(shape(planChunks(Int32Array.of(50, 4, 4), { tokens: 8 })), [
    [1, 50],
    [2, 8],
  ]);
  assert.deepEqual(shape(planChunks(Int32Array.of(5, 5, 5), { tokens: 8 })), [
    [1, 5],
    [1, 5],
    [1, 5],
  ]);
  assert.deepEqual(shape(planChunks(Int32Array.of(5, 4, 3), { tokens: 1e9 })), [[3, 12]]);
});

test('a length as large as its type holds is planned without a count for each length', () => {
  const huge = 2 ** 31 - 1;
  const [first, second] = planChunks(Int32Array.of(3, huge, 5, huge), { tokens: 2 ** 33 });
  assert.deepEqual(
    [first!.rows, first!.tokens, second],
    [Int32Array.of(1, 3, 2, 0), 2 * huge + 8, undefined],
  );
});
