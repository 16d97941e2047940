import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import {
  call,
  GradCache,
  ModuleEncoder,
  Tensor,
  withSeed,
  type Module,
  type Parameter,
} from '../../lib/index.js';
import { createEncoder } from '../../bench/gpu/models.js';
import { relativeError } from '../oracle/compare.js';
import { longTexts, seededWork } from './seeded-work.js';
import { device, gradients, tokens } from './support.js';

type Work = Awaited<ReturnType<typeof seededWork>>;

/** Every chunk and every draw gave what it gives where nothing else draws. */
function assertUndisturbed({ chunks, draws }: Work, alone: Work): void {
  const [chunk, drawn] = [alone.chunks[0]!, alone.draws[0]!];
  const other = (values: readonly string[], expected: string) =>
    values.filter((value) => value !== expected).length;
  assert.equal(other(chunks, chunk), 0, `of ${chunks.length} chunks had other masks`);
  assert.equal(other(draws, drawn), 0, `of ${draws.length} draws under a seed gave other numbers`);
}

test('long texts with dropout beside draws under a seed: neither changes the other', async () => {
  const alone = await seededWork(device, 'after');
  assertUndisturbed(alone, alone);
  assertUndisturbed(await seededWork(device, 'beside'), alone);
});

test('two worker threads beside each other draw what each draws alone', async () => {
  const program = new URL('./seeded-work.js', import.meta.url);
  const work = () =>
    new Promise<Work>((resolve, reject) => {
      const worker = new Worker(program, { workerData: device });
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  const alone = await seededWork(device, 'after');
  for (const each of await Promise.all([work(), work()])) assertUndisturbed(each, alone);
});

/** One layer under many masks: most of the time of its forward goes by under a seed. */
class Masked implements Module {
  readonly #weight: Tensor;

  constructor() {
    this.#weight = withSeed(1, () => call('aten::randn', [128, 128])).to({ device });
    this.#weight.requiresGrad = true;
  }

  forward(features: Tensor): Tensor {
    let hidden = features.linear(this.#weight);
    for (let k = 0; k < 100; k++) hidden = hidden.dropout(0.05);
    return hidden;
  }

  parameters(): Parameter[] {
    return [{ name: 'weight', tensor: this.#weight, decay: true }];
  }
}

test('a text tower of long texts beside module towers: every step has the same masks in both passes', async () => {
  const texts = await createEncoder(longTexts, { device, precision: 'bfloat16', dropout: 0.1, seed: 5 });
  const masked = new ModuleEncoder(new Masked());
  const features = withSeed(2, () => call('aten::randn', [8, 128])).to({ device });
  const batch = tokens([300, 400, 500, 280, 300, 310, 450, 511], longTexts.vocabulary, 3);
  const pairs = 4;
  const towers = Array.from({ length: pairs }, () => [texts, masked] as const).flat();
  const inputs = Array.from({ length: pairs }, () => [batch, features]).flat();
  const gradcache = new GradCache({
    encoders: towers,
    loss: (...all: Tensor[]) => {
      let sum = Tensor.from([0]).to({ device });
      for (let k = 0; k < 2 * pairs; k++) sum = sum.add(all[k]!.mul(all[(k + 1) % (2 * pairs)]!).sum());
      return sum.sum();
    },
    // One chunk of a text tower waits in the engine's queue while the module's forward runs.
    chunk: { sequences: 4 },
    retain: { bytes: 0 },
  });
  let first: { loss: number; gradients: Map<string, Float32Array | Float64Array> } | undefined;
  for (let run = 0; run < 12; run++) {
    for (const { tensor } of gradcache.parameters())
      if (tensor.grad !== null) call('aten::zero_', tensor.grad).dispose();
    const { loss } = await gradcache.step(inputs, { seed: 17 });
    const weight = (await masked.parameters()[0]!.tensor.grad!.values()) as Float32Array;
    const all = new Map([...(await gradients(texts)), ['masked', weight] as const]);
    first ??= { loss, gradients: all };
    assert.equal(loss, first.loss, `run ${run}`);
    for (const [name, values] of all) {
      // Flash attention adds up the gradient of its queries in any order; other masks put it off by about a third.
      const error = relativeError(values, first.gradients.get(name)!);
      assert.ok(error <= 3e-2, `run ${run}, ${name}: relative error ${error}`);
    }
  }
  texts.dispose();
});
