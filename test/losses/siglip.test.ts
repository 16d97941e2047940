import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { call, sigLIP, Tensor, type LossOptions } from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import { readSafetensors } from '../../lib/safetensors/safetensors.js';
import { train } from '../../lib/training/train.js';
import { gradcache } from '../cli/program.js';
import { assertClose } from '../oracle/compare.js';
import { digests, record, shortRun } from '../training/support.js';
import { assertLikeVector, vectorsAbsent, vectorsOf } from './vectors.js';

type Rows = { values: Float64Array; shape: [number, number] };

/** Rows of no particular length. */
function rows(count: number, dimension: number, seed: number): Rows {
  const values = Float64Array.from({ length: count * dimension }, (_, i) => Math.sin(i * 1.7 + seed * i * i));
  return { values, shape: [count, dimension] };
}

/** The loss in plain float64 operators, with all scores at once. */
async function plain(towers: Rows[], options: Plain): Promise<Results> {
  const { scale, bias, similarity, targets } = options;
  const [logScale, added] = [Math.log(scale), bias].map((value) => {
    const tensor = Tensor.from(Float64Array.of(value));
    tensor.requiresGrad = true;
    return tensor;
  }) as [Tensor, Tensor];
  const loss = (...given: (Tensor & LossOptions)[]) => {
    const tensors = given
      .slice(0, towers.length)
      .map((tensor) => (similarity === 'cosine' ? tensor.normalize() : tensor));
    const candidates: Tensor = call('aten::cat', tensors.slice(1), 0);
    const logits = tensors[0]!.matmul(candidates.t()).mul(logScale.exp()).add(added);
    const [count, columns] = logits.shape as [number, number];
    const signs = new Float64Array(count * columns).fill(-1);
    for (let row = 0; row < count; row++) signs[row * columns + (targets?.[row] ?? row)] = 1;
    const right = logits.mul(Tensor.from(signs, { shape: [count, columns] }));
    return call<Tensor>('aten::log_sigmoid', right).sum().neg().div(count);
  };
  const result = await results(loss, towers, {});
  return { ...result, slopes: [logScale.grad!.item(), added.grad!.item()] };
}

interface Plain {
  readonly scale: number;
  readonly bias: number;
  readonly similarity: 'cosine' | 'dot';
  readonly targets?: readonly number[];
}

interface Results {
  readonly loss: number;
  readonly gradients: Float64Array[];
  readonly slopes: number[];
}

async function results(loss: Parameters<typeof withGradients>[0], towers: Rows[], options: LossOptions) {
  const tensors = towers.map(({ values, shape }) => Tensor.from(values, { shape }));
  const made = withGradients(loss);
  const { loss: value, gradients } = await made.compute(tensors, 1, options);
  const slopes = made.parameters().map(({ tensor }) => tensor.grad!.item());
  const all = await Promise.all(
    gradients.map(async (gradient) => (await gradient!.values()) as Float64Array),
  );
  return { loss: value, gradients: all, slopes };
}

test('value, gradients and slopes are those of plain operators on all scores', async () => {
  // 700 anchors are several tiles; the others are one.
  const pairs = [rows(700, 9, 1), rows(700, 9, 2)];
  const cases: [string, Rows[], Partial<Plain>][] = [
    ['several tiles', pairs, {}],
    ['dot product', pairs, { similarity: 'dot', scale: 0.7, bias: -3 }],
    ['hard negatives', [rows(11, 5, 1), rows(11, 5, 2), rows(7, 5, 3)], {}],
    ['targets', [rows(4, 5, 1), rows(3, 5, 2), rows(2, 5, 3)], { targets: [4, 0, 0, 2] }],
    ['one pair', [rows(1, 3, 1), rows(1, 3, 2)], {}],
    ['scores beyond the exponential', [rows(6, 3, 1), rows(6, 3, 2)], { scale: 1e4, bias: 50 }],
    ['a small scale', [rows(6, 3, 1), rows(6, 3, 2)], { scale: 1e-3, bias: 0 }],
  ];
  for (const [title, towers, options] of cases) {
    const { scale = 10, bias = -10, similarity = 'cosine', targets } = options;
    const expected = await plain(towers, { scale, bias, similarity, ...(targets ? { targets } : {}) });
    const loss = sigLIP({ scale, bias, similarity });
    const ours = await results(loss, towers, targets ? { targets } : {});
    assertClose([ours.loss], [expected.loss], 1e-12, title);
    for (const [tower, gradient] of ours.gradients.entries())
      assertClose(gradient, expected.gradients[tower]!, 1e-10, `${title}, tower ${tower}`);
    assertClose(ours.slopes, expected.slopes, 1e-10, `${title}, slopes`);
    // What is not learned has no parameters, and the same value.
    const fixed = sigLIP({ scale, bias, similarity, learned: false });
    assert.deepEqual(fixed.parameters(), []);
    const { loss: same } = await results(fixed, towers, targets ? { targets } : {});
    assertClose([same], [ours.loss], 1e-12, title);
  }
});

test('anchors and positives can change places; float32 is near float64', async () => {
  const towers = [rows(300, 8, 4), rows(300, 8, 5)];
  const [there, back] = [
    await results(sigLIP(), towers, {}),
    await results(sigLIP(), [...towers].reverse(), {}),
  ];
  assertClose([there.loss], [back.loss], 1e-12, 'loss');
  assertClose(there.gradients[0]!, back.gradients[1]!, 1e-10, 'gradient');
  const single = towers.map(({ values, shape }) => Tensor.from(Float32Array.from(values), { shape }));
  const { loss, gradients } = await sigLIP().compute(single, 1, {});
  assertClose([loss], [there.loss], 1e-6, 'float32');
  assertClose((await gradients[0]!.values()) as Float32Array, there.gradients[0]!, 1e-5, 'float32');
});

test('values and gradients are those of other libraries', { skip: vectorsAbsent }, async () => {
  const vectors = vectorsOf('SigLipLoss');
  assert.ok(vectors.length > 0);
  for (const vector of vectors) {
    const { logit_scale: scale, logit_bias: bias } = vector.params as Record<string, number>;
    await assertLikeVector(sigLIP({ scale: scale!, bias: bias! }), vector);
  }
});

test('what does not fit is refused', async () => {
  for (const options of [
    { scale: 0 },
    { scale: Infinity },
    { bias: NaN },
    { learned: 'no' },
    { similarity: 'euclidean' },
    { temperature: 1 },
  ])
    assert.throws(() => sigLIP(options as never), { code: 'INPUT' }, JSON.stringify(options));
  const towers = [rows(3, 2, 1), rows(2, 2, 2)];
  await assert.rejects(results(sigLIP(), towers, {}), {
    code: 'SHAPE',
    message: /3 anchors but 2 positives/,
  });
  await assert.rejects(results(sigLIP(), towers, { targets: [0, 1, 2] }), { code: 'SHAPE' });
  await assert.rejects(results(sigLIP(), towers, { target: [0, 1, 1] }), { code: 'INPUT' });
});

test('a run trains with it, learns scale and bias, and goes on from its checkpoint', async (t) => {
  const { folder, config } = await shortRun(t);
  const given = { ...config, optimizer: { lr: 1e-2, weightDecay: 0 }, checkpoint: { every: 3 } };
  const { steps } = await record({ ...given, loss: { kind: 'siglip', scale: 5, bias: -4 } });
  const losses = steps.map((step) => step.loss);
  assert.ok(losses.at(-1)! < losses[0]!, losses.join());
  assert.notEqual(steps.at(-1)!.temperature, 1 / 5);
  const stored = await readSafetensors(join(config.output, 'checkpoint-3', 'optimizer.safetensors'));
  for (const name of ['loss.loss.bias', 'exp_avg.loss.bias', 'loss.loss.log_scale'])
    assert.ok(stored.has(name), name);

  const resume = join(config.output, 'checkpoint-3');
  const again = join(folder, 'again');
  await train({ output: again, resume });
  assert.deepEqual(await digests(join(again, 'model')), await digests(join(config.output, 'model')));
  const other = train({ output: join(folder, 'other'), resume, loss: { kind: 'infonce' } });
  await assert.rejects(other, { code: 'INPUT', message: /loss\.kind was "siglip", now "infonce"/ });

  const output = join(folder, 'by-flags');
  const flags = ['--model', config.model as string, '--data', config.data as string, '--output', output];
  const run = ['--batch', '20', '--chunk-sequences', '8', '--steps', '6', '--device', 'cpu'];
  const optimizer = ['--lr', '1e-2', '--optimizer.weightDecay', '0', '--checkpoint-every', '3'];
  const loss = ['--loss', 'siglip', '--loss.scale', '5', '--loss.bias', '-4'];
  const { code, stderr } = await gradcache(['train', ...flags, ...run, ...optimizer, ...loss]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(await digests(join(output, 'model')), await digests(join(config.output, 'model')));
  const settings = JSON.parse(await readFile(join(output, 'checkpoint-3', 'trainer.json'), 'utf8')) as {
    config: { loss: unknown };
  };
  const expected = {
    kind: 'siglip',
    scale: 5,
    bias: -4,
    learned: true,
    similarity: 'cosine',
    precision: 'exact',
  };
  assert.deepEqual(settings.config.loss, expected);
});
