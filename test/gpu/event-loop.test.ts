import assert from 'node:assert/strict';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { test } from 'node:test';
import { createEncoder, SHAPES } from '../../bench/gpu/models.js';
import { workload } from '../../bench/gpu/workload.js';
import { device, step } from './support.js';

const shape = device === 'cpu' ? SHAPES.tiny : SHAPES.base;
const [pairs, shrink] = device === 'cpu' ? [512, 8] : [8192, 1];

for (const kind of ['uniform', 'natural'] as const) {
  test(`the event loop stays free during a step: ${kind}`, async () => {
    const encoder = await createEncoder(shape, { device, precision: 'bfloat16', dropout: 0.1 });
    const batches = workload(kind, pairs, shape.vocabulary, shrink);
    await step(encoder, batches, { chunk: { tokens: 32_768 } });
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    await step(encoder, batches, { chunk: { tokens: 32_768 } });
    delay.disable();
    const p99 = delay.percentile(99) / 1e6;
    assert.ok(p99 <= 20, `p99 of the delay: ${p99} ms, at most ${delay.max / 1e6}`);
    encoder.dispose();
  });
}
