import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  infoNCE,
  memory,
  ntXent,
  resetPeakMemory,
  sigLIP,
  withSeed,
  type Tensor,
} from '../../lib/index.js';

const ROWS = 9000;
const MIB = 2 ** 20;

test('the memory of a loss does not grow with all scores', async () => {
  const towers = withSeed(1, () => [1, 2].map(() => call<Tensor>('aten::randn', [ROWS, 8])));
  const scores = ROWS * ROWS * 4;
  const all = ['query_to_doc', 'doc_to_query', 'query_to_query', 'doc_to_doc'] as const;
  for (const [title, loss] of [
    ['one direction', infoNCE()],
    ['all directions', infoNCE({ directions: all })],
    ['scores without a bound', infoNCE({ symmetric: true, temperature: 0.01 })],
    ['NT-Xent', ntXent()],
    ['SigLIP', sigLIP()],
  ] as const) {
    resetPeakMemory('cpu');
    const before = memory('cpu').allocated;
    const { gradients } = await loss.compute(towers, 1, {});
    const used = memory('cpu').peak - before;
    for (const gradient of gradients) gradient?.dispose();
    assert.ok(used < scores / 2, `${title}: ${used / MIB} MiB, all scores are ${scores / MIB}`);
  }
});
