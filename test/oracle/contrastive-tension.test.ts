import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  contrastiveTension,
  contrastiveTensionInBatch,
  GradCache,
  TextEncoder,
  type LossWithGradients,
} from '../../lib/index.js';
import { assertSameGradients, type Numbers } from './compare.js';
import { Oracle, readGradients } from './oracle.js';

const ROWS = 7;
let oracle: Oracle;
let folder: string;
let texts: string[][];

before(async () => {
  oracle = new Oracle();
  folder = await oracle.saveTransformer('distilbert', 'tension');
  const all = await oracle.sentences(4, 2 * ROWS, 1, 12);
  texts = [all.slice(0, ROWS), all.slice(ROWS)];
});

after(() => oracle.close());

interface Case {
  readonly lossClass: string;
  readonly loss: () => LossWithGradients;
  readonly params: object;
  readonly labels?: readonly number[];
  /** Values of parameters of the class, which it makes in float32. */
  readonly weights?: Record<string, readonly number[]>;
}

const CASES: readonly Case[] = [
  {
    lossClass: 'ContrastiveTensionLoss',
    loss: () => contrastiveTension(),
    params: {},
    labels: [1, 0, 0, 1, 0, 0, 1],
  },
  {
    lossClass: 'ContrastiveTensionLossInBatchNegatives',
    loss: () => contrastiveTensionInBatch({ scale: 0.5 }), // beyond CLIP's bounds
    params: { scale: 0.5 },
    weights: { logit_scale: [Math.log(0.5)] },
  },
];

for (const { lossClass, loss: make, params, labels, weights } of CASES)
  test(`${lossClass}: the cached step has its loss, and the gradients of both models`, async () => {
    const [first, second] = texts as [string[], string[]];
    const pairs =
      labels === undefined
        ? [first, first]
        : [first, second.map((text, k) => (labels[k] === 1 ? first[k]! : text))];
    const columns = labels === undefined ? [first] : pairs;
    const expected = await oracle.classGradients(folder, columns, {
      loss_class: lossClass,
      params,
      labels,
      ...(weights && { weights }),
    });
    const theirs = await readGradients(expected);
    for (const [precision, tolerance] of [
      ['float64', 1e-9],
      ['float32', 1e-5],
    ] as const) {
      const load = () => TextEncoder.load(folder, { precision, dropout: 0 });
      const encoders = [await load(), await load()] as const;
      const loss = make();
      const gradcache = new GradCache({ encoders, loss, chunk: { sequences: 3 } });
      const inputs = await Promise.all(encoders.map((encoder, tower) => encoder.tokenize(pairs[tower]!)));
      const result = await gradcache.step(inputs, labels && { loss: { labels } });
      const error = Math.abs(result.loss - expected.loss);
      assert.ok(error <= tolerance * expected.loss, `${result.loss}, in Python ${expected.loss}`);
      const numbersOf = async (encoder: TextEncoder): Promise<Map<string, Numbers>> => {
        const gradients = new Map<string, Numbers>();
        for (const { name, tensor } of encoder.parameters())
          gradients.set(name, (await tensor.grad!.values()) as Float64Array);
        return gradients;
      };
      // model1 is the copy that encodes the first column.
      const copy = new Map<string, Numbers>();
      const model = new Map<string, Numbers>();
      for (const [name, gradient] of theirs)
        if (name.startsWith('loss.model1.'))
          copy.set(name.replace(/^loss\.model1\.\d+\.(model\.)?/, ''), gradient);
        else if (!name.startsWith('loss.')) model.set(name, gradient);
      assert.equal(copy.size, model.size);
      assertSameGradients(await numbersOf(encoders[0]), copy, tolerance, precision);
      assertSameGradients(await numbersOf(encoders[1]), model, tolerance, precision);
      const scale = theirs.get('loss.logit_scale');
      assert.equal(loss.parameters().length, scale === undefined ? 0 : 1);
      if (scale !== undefined) {
        const [ours] = await loss.parameters()[0]!.tensor.grad!.values();
        assert.ok(Math.abs(Number(ours) - scale[0]!) <= tolerance * Math.abs(scale[0]!));
      }
      for (const encoder of encoders) encoder.dispose();
    }
  });

test('labels of contrastive tension are 0 or 1', async () => {
  const encoder = await TextEncoder.load(folder);
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: contrastiveTension() });
  const inputs = texts.map((column) => encoder.tokenize(column));
  for (const [labels, message] of [
    [undefined, /contrastiveTension needs labels|labels/],
    [[1, 0, 0, 1, 0, 0, 0.5], /labels\[6\] is 0\.5; 0 or 1/],
    [[1, 0], /labels/],
  ] as const)
    await assert.rejects(
      gradcache.step(inputs, { loss: { ...(labels && { labels }) } }),
      (error: { code?: string; message: string }) =>
        (error.code === 'INPUT' || error.code === 'SHAPE') && message.test(error.message),
    );
  encoder.dispose();
});
