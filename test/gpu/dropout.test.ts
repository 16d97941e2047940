import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEncoder, type ModelOptions, type Shape } from '../../bench/gpu/models.js';
import { relativeError } from '../oracle/compare.js';
import { device, gradients, mixedLengths, step, tokens } from './support.js';

const shape = (hidden: number, heads: number): Shape => ({
  hidden,
  heads,
  layers: 2,
  intermediate: 2 * hidden,
  vocabulary: 500,
  positions: 256,
});

/** Other masks would put every element off by about a third. */
const tolerances = { float32: 1e-4, bfloat16: 3e-2 };

async function represent(
  form: Shape,
  precision: 'float32' | 'bfloat16',
  lengths: readonly number[],
  where: string,
  seed: number,
): Promise<Float32Array> {
  const options: ModelOptions = { device: 'cpu', precision, dropout: 0.1, seed: 5 };
  // The weights are drawn on the CPU for both: a GPU's generator gives other numbers.
  const source = await createEncoder(form, options);
  const encoder = where === 'cpu' ? source : await createEncoder(form, { ...options, device: where });
  if (encoder !== source) {
    const weights = new Map(source.parameters().map(({ name, tensor }) => [name, tensor]));
    for (const { name, tensor } of encoder.parameters())
      tensor.copyFrom(weights.get(name)!.to({ device: where }));
  }
  const batch = tokens(lengths, form.vocabulary, 4);
  const rows = Int32Array.from(lengths, (_, row) => row);
  const chunk = { batch, rows, tokens: batch.ids.length };
  const { representations } = await encoder.forwardChunk(chunk, { seed });
  const values = (await representations.values()) as Float32Array;
  for (const each of new Set([source, encoder])) each.dispose();
  return values;
}

const cases = {
  'width 36, heads of 12: plain operators': shape(36, 3),
  'width 64, heads of 32: kernels': shape(64, 2),
  'width 64, one head of 64: kernels': shape(64, 1),
};

for (const [title, form] of Object.entries(cases)) {
  for (const precision of ['float32', 'bfloat16'] as const) {
    test(`dropout masks are those of the CPU: ${title}, ${precision}`, async () => {
      // 28,000 tokens and more: beyond what one grid or one 16-bit counter could number.
      const lengths = mixedLengths(440, 128);
      const ours = await represent(form, precision, lengths, device, 11);
      const expected = await represent(form, precision, lengths, 'cpu', 11);
      const error = relativeError(ours, expected);
      assert.ok(error <= tolerances[precision], `relative error ${error}`);
      const other = relativeError(await represent(form, precision, lengths, device, 12), expected);
      assert.ok(
        other > 3 * tolerances[precision],
        `another seed gives other masks, yet the error is ${other}`,
      );
    });
  }
}

for (const [title, form] of Object.entries(cases)) {
  test(`the same seed gives the same bits twice: ${title}`, async () => {
    const batches = [tokens(mixedLengths(200, 30), 500, 1), tokens(mixedLengths(200, 120), 500, 2)];
    const runs: Map<string, Float32Array | Float64Array>[] = [];
    const losses: number[] = [];
    for (let run = 0; run < 2; run++) {
      const encoder = await createEncoder(form, { device, precision: 'bfloat16', dropout: 0.1, seed: 5 });
      losses.push((await step(encoder, batches, { chunk: { tokens: 2000 } })).loss);
      runs.push(await gradients(encoder));
      encoder.dispose();
    }
    assert.equal(losses[0], losses[1]);
    assert.deepEqual(runs[0], runs[1]);
  });
}
