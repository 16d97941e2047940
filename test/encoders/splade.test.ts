import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import {
  GradCache,
  infoNCE,
  MomentumEncoder,
  noGrad,
  splade,
  Tensor,
  TextEncoder,
  Tokenizer,
  type AnyEncoder,
  type CreateOptions,
} from '../../lib/index.js';
import { assertClose } from '../oracle/compare.js';
import { root, temporaryFolder, TINY_CONFIG } from '../training/support.js';

const TEXTS = [
  'the old dog',
  'a river that is quiet and cold',
  'bread',
  'the clock of the old ship is broken',
];
const WEIGHTS = { documentRegularizerWeight: 1e-3, queryRegularizerWeight: 1e-3 };

async function create(options: CreateOptions = {}): Promise<TextEncoder> {
  const tokenizer = await Tokenizer.fromFile(join(root, 'examples', 'quickstart', 'tokenizer.json'));
  const config = { ...TINY_CONFIG, initializer_range: 0.3 };
  return TextEncoder.create(config, tokenizer, {
    pooling: 'splade',
    precision: 'float64',
    dropout: 0,
    ...options,
  });
}

const parameter = (encoder: TextEncoder, name: string): Tensor =>
  encoder.parameters().find((each) => each.name === name)!.tensor;

/** Sets the bias of all words: below 0, few logits are above it. */
function setBias(encoder: TextEncoder, value: number): void {
  const bias = parameter(encoder, 'cls.predictions.bias');
  const words = bias.size;
  bias.copyFrom(Tensor.from(Float64Array.from({ length: words }, (_, k) => value + 0.1 * Math.sin(k))));
}

/** A sum over the entries of the texts, each with a weight of its own, and the gradient of the entries. */
async function weighted(
  encoder: TextEncoder,
): Promise<{ sum: number; entries: number; backward: () => Promise<void> }> {
  const batch = await encoder.tokenize(TEXTS);
  const chunk = { batch, rows: Int32Array.of(3, 0, 1, 2), tokens: batch.ids.length };
  const { representations, counts, ticket } = await encoder.forwardChunk(chunk, { seed: 0 });
  const numbers = (await representations.values()) as Float64Array;
  const gradient = new Float64Array(numbers.length);
  let [sum, entry] = [0, 0];
  for (const [row, count] of counts!.entries())
    for (let k = 0; k < count; k++, entry++) {
      gradient[2 * entry] = Math.cos(row + numbers[2 * entry + 1]!);
      sum += gradient[2 * entry]! * numbers[2 * entry]!;
    }
  const backward = async (): Promise<void> => {
    using given = Tensor.from(gradient, { shape: [entry, 2] });
    await encoder.backwardChunk(chunk, ticket, given);
  };
  return { sum, entries: entry, backward };
}

for (const strategy of ['max', 'sum'] as const)
  for (const activation of ['relu', 'log1p_relu'] as const)
    for (const [title, bias] of [
      ['few', -3],
      ['many', 0],
    ] as const)
      test(`gradients are slopes: ${strategy} of ${activation}, ${title} words above 0`, async () => {
        using encoder = await create({ splade: { strategy, activation } });
        setBias(encoder, bias);
        const { entries, backward } = await weighted(encoder);
        const share = entries / (TEXTS.length * encoder.dimension);
        assert.ok(title === 'few' ? share > 0.005 && share < 0.08 : share > 0.4, String(share));
        await backward();
        for (const name of [
          'cls.predictions.bias',
          'cls.predictions.transform.dense.weight',
          'cls.predictions.transform.LayerNorm.bias',
          'embeddings.word_embeddings.weight',
          'encoder.layer.0.intermediate.dense.bias',
        ]) {
          const tensor = parameter(encoder, name);
          const gradient = (await tensor.grad!.values()) as Float64Array;
          const values = (await tensor.values()) as Float64Array;
          // The places with the greatest gradients, and some in all parts of the vocabulary.
          const greatest = [...gradient.keys()].sort(
            (a, b) => Math.abs(gradient[b]!) - Math.abs(gradient[a]!),
          );
          const places = [...greatest.slice(0, 4), 0, Math.floor(values.length / 2), values.length - 1];
          for (const place of places) {
            const at = async (step: number): Promise<number> => {
              const moved = values.slice();
              moved[place]! += step;
              tensor.copyFrom(Tensor.from(moved, { shape: tensor.shape }));
              return (await weighted(encoder)).sum;
            };
            const slope = ((await at(1e-7)) - (await at(-1e-7))) / 2e-7;
            tensor.copyFrom(Tensor.from(values, { shape: tensor.shape }));
            const scale = Math.abs(gradient[greatest[0]!]!);
            assert.ok(
              Math.abs(slope - gradient[place]!) <= 1e-5 * scale,
              `${name} ${place}: ${slope} ${gradient[place]!}`,
            );
          }
        }
      });

test('a text whose words are all 0 has one entry, and no gradient', async () => {
  using encoder = await create();
  setBias(encoder, -1e6);
  const { entries, sum, backward } = await weighted(encoder);
  assert.deepEqual([entries, sum], [TEXTS.length, 0]);
  await backward();
  for (const { name, tensor } of encoder.parameters())
    assert.ok(
      ((await tensor.grad!.values()) as Float64Array).every((value) => value === 0),
      name,
    );
  const { values, offsets } = await encoder.encodeSparse(TEXTS);
  assert.deepEqual([values.length, ...offsets], [0, 0, 0, 0, 0, 0]);
  assert.ok(((await (await encoder.encode(TEXTS)).values()) as Float64Array).every((value) => value === 0));
});

test('chunks, kept graphs and dropout give the gradient of the whole batch', async () => {
  const results: [number, Float64Array][] = [];
  for (const [chunk, retain] of [
    [{ sequences: 1 }, { bytes: 0 }],
    [{ sequences: 4 }, { bytes: 0 }],
    [{ sequences: 2 }, { bytes: 1e9 }],
  ] as const) {
    using encoder = await create();
    setBias(encoder, -3);
    const gradcache = new GradCache({
      encoders: [encoder, encoder],
      loss: splade(infoNCE({ similarity: 'dot', temperature: 1 }), WEIGHTS),
      chunk,
      retain,
    });
    const { loss } = await gradcache.step([encoder.tokenize(TEXTS), encoder.tokenize([...TEXTS].reverse())]);
    const gradient = await parameter(encoder, 'embeddings.word_embeddings.weight').grad!.values();
    results.push([loss, gradient as Float64Array]);
  }
  for (const [loss, gradient] of results) {
    assertClose([loss], [results[0]![0]], 1e-12, 'loss');
    assertClose(gradient, results[0]![1], 1e-10, 'gradient');
  }

  const dropped = async (retain: { bytes: number }) => {
    using encoder = await create({ dropout: 0.2 });
    const loss = splade(infoNCE({ similarity: 'dot', temperature: 10 }), WEIGHTS);
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss, chunk: { sequences: 2 }, retain });
    await gradcache.step([encoder.tokenize(TEXTS), encoder.tokenize([...TEXTS].reverse())], { seed: 5 });
    return parameter(encoder, 'cls.predictions.transform.dense.weight').grad!.values();
  };
  assert.deepEqual(await dropped({ bytes: 0 }), await dropped({ bytes: 1e9 }));
});

test('between the passes a step holds what is not 0', async () => {
  using encoder = await create();
  setBias(encoder, -3);
  const { values } = await encoder.encodeSparse(TEXTS);
  const held: number[][] = [];
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: splade(infoNCE({ similarity: 'dot', temperature: 1 }), WEIGHTS),
    curate: (towers) => {
      held.push(...towers.map(({ shape }) => shape));
      return 'accept';
    },
  });
  await gradcache.step([encoder.tokenize(TEXTS), encoder.tokenize([...TEXTS].reverse())]);
  assert.deepEqual(held, [
    [values.length, 2],
    [values.length, 2],
  ]);
});

test('what a graph is expected to take follows the columns that are not 0', async () => {
  using encoder = await create();
  setBias(encoder, -3);
  const batch = await encoder.tokenize(TEXTS);
  const chunk = { batch, rows: Int32Array.of(0, 1, 2, 3), tokens: batch.ids.length };
  const before = encoder.graphBytes(chunk); // nothing is known yet
  const { values } = await encoder.encodeSparse(TEXTS);
  assert.ok(values.length < (4 * encoder.dimension) / 20, 'few of all columns');
  // Float64: three numbers and three places an entry.
  const bytes = 48 * values.length;
  assert.ok(before > 48 * 4 * encoder.dimension);
  const loss = splade(infoNCE({ similarity: 'dot', temperature: 1 }), WEIGHTS);
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss, chunk: { sequences: 2 } });
  await gradcache.step([encoder.tokenize(TEXTS), encoder.tokenize(TEXTS)]);
  const without = before - 48 * 4 * encoder.dimension;
  const after = encoder.graphBytes(chunk) - without;
  assert.ok(after >= bytes && after < 4 * bytes + 48 * 4 * 16, `${after} of ${bytes}`);
});

test('a momentum encoder of sparse rows is a tower as the model with its weights is', async () => {
  const results: { loss: number; gradient: Float64Array }[] = [];
  for (const slow of [true, false]) {
    using encoder = await create();
    using copy = await create();
    setBias(encoder, -3);
    setBias(copy, -3);
    const third = slow ? new MomentumEncoder(encoder, copy, { momentum: 0.5 }) : copy;
    const gradcache = new GradCache<readonly AnyEncoder[]>({
      encoders: [encoder, encoder, third],
      loss: splade(infoNCE({ similarity: 'dot', temperature: 1 }), WEIGHTS),
      chunk: { sequences: 3 },
    });
    const texts = [TEXTS, [...TEXTS].reverse(), [...TEXTS.slice(1), TEXTS[0]!]];
    const { loss } = await gradcache.step(texts.map((each) => encoder.tokenize(each)));
    const gradient = await parameter(encoder, 'cls.predictions.transform.dense.weight').grad!.values();
    results.push({ loss, gradient: gradient as Float64Array });
    if (third === copy) continue;
    const idle = parameter(copy, 'cls.predictions.bias').grad?.valuesSync() as Float64Array | undefined;
    assert.ok(idle === undefined || idle.every((value) => value === 0));
    const bias = parameter(encoder, 'cls.predictions.bias');
    noGrad(() => bias.copyFrom(bias.mul(2)));
    await (third as MomentumEncoder<never>).update();
    const [now, of] = [parameter(copy, 'cls.predictions.bias'), bias].map((each) => each.valuesSync());
    assertClose(
      now as Float64Array,
      (of as Float64Array).map((value) => 0.75 * value),
      1e-12,
      'bias',
    );
  }
  assert.equal(results[0]!.loss, results[1]!.loss);
  assert.deepEqual(results[0]!.gradient, results[1]!.gradient);
});

test('parameters can be frozen, those of the head among them', async () => {
  for (const frozen of [
    ['cls'],
    ['embeddings', 'encoder'],
    ['embeddings.word_embeddings', 'cls.predictions.bias'],
  ]) {
    using encoder = await create({ frozen });
    const loss = splade(infoNCE({ similarity: 'dot' }), WEIGHTS);
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss });
    await gradcache.step([encoder.tokenize(TEXTS), encoder.tokenize([...TEXTS].reverse())]);
    for (const { name, tensor } of encoder.parameters()) {
      assert.ok(!frozen.some((each) => name.startsWith(each)), name);
      if (name.endsWith('dense.weight'))
        assert.ok(
          ((await tensor.grad!.values()) as Float64Array).some((value) => value !== 0),
          name,
        );
    }
  }
});

test('weights that are not finite are told', async () => {
  using encoder = await create();
  const bias = parameter(encoder, 'cls.predictions.bias');
  noGrad(() => bias.copyFrom(Tensor.from(new Float64Array(bias.size).fill(NaN))));
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: splade(infoNCE({ similarity: 'dot' }), WEIGHTS),
  });
  const inputs = [encoder.tokenize(TEXTS), encoder.tokenize(TEXTS)];
  await assert.rejects(gradcache.step(inputs), { code: 'NON_FINITE' });
});

test('a saved encoder opens as the same', async (t: TestContext) => {
  const folder = await temporaryFolder(t);
  for (const settings of [{}, { strategy: 'sum', activation: 'log1p_relu' }] as const) {
    using encoder = await create({ precision: 'float32', splade: settings });
    const path = join(folder, JSON.stringify(settings).length.toString());
    await encoder.save(path);
    using opened = await TextEncoder.load(path);
    const [ours, theirs] = await Promise.all([encoder, opened].map((each) => each.encode(TEXTS)));
    assert.deepEqual(await theirs!.values(), await ours!.values());
    using same = await TextEncoder.load(path, { pooling: 'splade' });
    assert.equal(same.sparse, true);
    await assert.rejects(TextEncoder.load(path, { pooling: 'mean' }), {
      code: 'INPUT',
      message: /pooling is "mean"/,
    });
  }
});

test('what does not fit is refused', async () => {
  for (const [options, message] of [
    [{ normalize: true }, /normalize is true; false/],
    [{ pooling: 'mean', splade: {} }, /splade/],
    [{ splade: { strategy: 'mean' } }, /splade\.strategy is "mean"; "max" or "sum"/],
    [{ splade: { activation: 'gelu' } }, /splade\.activation is "gelu"/],
    [{ splade: { pooling: 'max' } }, /pooling/],
    [{ pooling: 'SPLADE' }, /pooling is "SPLADE"/],
  ] as const)
    await assert.rejects(create(options as never), { code: 'INPUT', message }, JSON.stringify(options));

  const tokenizer = await Tokenizer.fromFile(join(root, 'examples', 'quickstart', 'tokenizer.json'));
  const recurrent = { model_type: 'sru', vocab_size: 8192, hidden_size: 8, num_hidden_layers: 1 };
  for (const [config, message] of [
    [recurrent, /masked language model/],
    [{ ...TINY_CONFIG, tie_word_embeddings: false }, /tie_word_embeddings is false/],
  ] as const)
    assert.throws(() => TextEncoder.create(config, tokenizer, { pooling: 'splade' }), {
      code: 'CHECKPOINT',
      message,
    });

  using encoder = await create();
  for (const loss of [infoNCE(), () => Tensor.from([1])])
    assert.throws(() => new GradCache({ encoders: [encoder, encoder], loss }), {
      code: 'INPUT',
      message: /encoders\[0\] is a sparse encoder.*splade\(loss/,
    });
  using dense = TextEncoder.create(TINY_CONFIG, tokenizer);
  await assert.rejects(dense.encodeSparse(TEXTS), { code: 'INPUT', message: /'splade'/ });
  const batch = await encoder.tokenize(TEXTS);
  const chunk = { batch, rows: Int32Array.of(0, 1), tokens: batch.offsets[2]! };
  const { ticket } = await encoder.forwardChunk(chunk, { seed: 0 });
  for (const shape of [[2, 2], [2, 8192], [4]])
    await assert.rejects(
      encoder.backwardChunk(
        chunk,
        ticket,
        Tensor.from(new Float64Array(shape.reduce((a, b) => a * b)), { shape }),
      ),
      {
        code: 'SHAPE',
      },
    );
});
