import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { basename, join } from 'node:path';
import {
  AdamW,
  GradCache,
  ImageEncoder,
  ImageTextModel,
  infoNCE,
  Tokenizer,
  train,
  type Tensor,
} from '../../lib/index.js';
import { fails } from '../robustness/failures.js';
import { assertSameGradients, largestDifference, type Numbers } from './compare.js';
import { Oracle, readGradients } from './oracle.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
let oracle: Oracle;
let paths: string[];
let texts: string[];

before(async () => {
  oracle = new Oracle();
  texts = await oracle.sentences(5, 6, 1, 30);
  paths = await Promise.all([
    oracle.savePicture('small.png', { width: 9, height: 14, seed: 1 }),
    oracle.savePicture('wide.png', { width: 101, height: 37, seed: 2, mode: 'RGBA' }),
    oracle.savePicture('high.png', { width: 33, height: 90, seed: 3, mode: 'L' }),
    oracle.savePicture('same.webp', { width: 32, height: 32, seed: 4 }),
    oracle.savePicture('grey.png', { width: 40, height: 40, seed: 5, mode: 'LA' }),
    oracle.savePicture('photo.jpg', { width: 64, height: 48, seed: 6 }),
  ]);
});

after(() => oracle.close());

const numbers = async (tensor: Tensor) => (await tensor.values()) as Float32Array | Float64Array;
const largest = (values: readonly number[]) => Math.max(...values.map(Math.abs));

/** Pillow and the decoders of sharp round the colours of JPEG and of some WebP differently, by a step or two of 255. */
const exact = () => [...paths.slice(0, 3), paths[4]!];

for (const [kind, processor] of [
  ['vit', {}],
  ['vit', { resample: 1, image_mean: [0.1, 0.2, 0.3], image_std: [0.3, 0.2, 0.1] }],
  ['vit', { resample: 4, do_normalize: false }],
  ['vit', { resample: 5, do_rescale: false }],
  ['clip', {}],
  ['clip', { size: { shortest_edge: 20 } }],
  ['clip', { size: { shortest_edge: 41 } }],
  ['siglip', { resample: 2 }],
] as const) {
  test(`${kind}: pictures are prepared as by transformers, ${JSON.stringify(processor)}`, async () => {
    const name = `prepared-${kind}-${Object.values(processor).join('-').replaceAll(/\W+/g, '')}`;
    const folder = await oracle.savePictureModel(kind, name, processor);
    using encoder = await ImageEncoder.load(folder);
    const expected = (await oracle.pixelValues(folder, exact())).flat(3);
    const { pixels } = await encoder.read(exact());
    const found = await numbers(encoder.prepared(pixels));
    assert.ok(largestDifference(found, expected) <= 1e-5 * largest(expected));
    const { pixels: photo } = await encoder.read([paths[5]!]);
    const near = (await oracle.pixelValues(folder, [paths[5]!])).flat(3);
    const differences = Array.from(await numbers(encoder.prepared(photo)), (value, k) =>
      Math.abs(value - near[k]!),
    );
    assert.ok(differences.reduce((sum, each) => sum + each, 0) / differences.length < 1e-2 * largest(near));
  });
}

for (const kind of ['vit', 'clip', 'siglip'] as const) {
  test(`${kind}: representations are transformers', also of the folder that is saved after a step`, async () => {
    const folder = await oracle.savePictureModel(kind, `model-${kind}`);
    const expected = await oracle.pictureFeatures(folder, exact());
    for (const [precision, tolerance] of [
      ['float32', 1e-5],
      ['float64', 1e-9],
    ] as const) {
      using encoder = await ImageEncoder.load(folder, { device, precision });
      assert.equal(encoder.dimension, expected.images[0]!.length);
      const ours = await numbers(await encoder.encode(exact(), { picturesPerChunk: 3 }));
      const error = largestDifference(ours, expected.images.flat());
      assert.ok(error <= tolerance * largest(expected.images.flat()), `${precision}: ${error}`);
    }
    using encoder = await ImageEncoder.load(folder, { device });
    const gradcache = new GradCache({
      encoders: [encoder, encoder],
      loss: infoNCE(),
      chunk: { sequences: 2 },
    });
    const { pixels } = await encoder.read(exact());
    await gradcache.step([pixels, pixels]);
    await new AdamW(encoder.parameters(), { lr: 1e-3 }).step();
    const saved = oracle.path(`saved-${kind}`);
    await encoder.save(saved);
    const theirs = (await oracle.pictureFeatures(saved, exact(), [], 'float32')).images.flat();
    const ours = await numbers(await encoder.encode(exact()));
    assert.ok(largestDifference(ours, theirs) <= 1e-5 * largest(theirs));
    assert.ok(largestDifference(ours, expected.images.flat()) > 1e-4, 'the step changed the encoder');
  });
}

for (const kind of ['clip', 'siglip'] as const) {
  test(`${kind}: gradients of a cached step with captions are those of PyTorch's whole batch`, async () => {
    const folder = await oracle.savePictureModel(kind, `pairs-${kind}`);
    const expected = await oracle.pictureGradients(folder, exact(), texts.slice(0, 4), 0.1);
    using model = await ImageTextModel.load(folder, { device, precision: 'float64', dropout: 0 });
    const { images, captions } = model;
    const features = await oracle.pictureFeatures(folder, exact(), texts);
    const ours = await numbers(await captions.encode(texts, { captionsPerChunk: 4 }));
    assert.ok(
      largestDifference(ours, features.captions!.flat()) <= 1e-9 * largest(features.captions!.flat()),
    );
    assert.ok(Math.abs(model.temperature - Math.exp(-features.scale!)) < 1e-6);

    const loss = infoNCE({ temperature: 0.1, symmetric: true });
    const gradcache = new GradCache({ encoders: [images, captions], loss, chunk: { sequences: 3 } });
    const { pixels } = await images.read(exact());
    const result = await gradcache.step([pixels, captions.tokenize(texts.slice(0, 4))]);
    assert.ok(Math.abs(result.loss - expected.loss) <= 1e-9 * expected.loss);
    const found = new Map<string, Numbers>();
    for (const { name, tensor } of [...images.parameters(), ...captions.parameters()])
      found.set(name, (await tensor.grad!.values()) as Float64Array);
    assertSameGradients(found, await readGradients(expected), 1e-8, kind);

    await assert.rejects(
      captions.encode(texts, { captionsPerChunk: 0 }),
      fails('INPUT', /captionsPerChunk is 0/),
    );
    await assert.rejects(captions.tokenize([]), fails('INPUT', /captions is empty/));
    await assert.rejects(model.save('x', { temperature: 0 }), fails('INPUT', /temperature is 0/));
    if (kind === 'clip') await assert.rejects(model.save('x', { bias: 1 }), fails('INPUT', /bias is given/));
    const saved = oracle.path(`pairs-${kind}-saved`);
    await model.save(saved, { temperature: 0.25 });
    const again = await oracle.pictureFeatures(saved, exact(), texts, 'float32');
    assert.ok(Math.abs(again.scale! - Math.log(4)) < 1e-6);
    assert.ok(largestDifference(ours, again.captions!.flat()) <= 1e-5 * largest(again.captions!.flat()));
  });
}

for (const kind of ['clip', 'siglip'] as const) {
  test(`${kind}: a run has the loss of transformers' model, and what it saves has the same scores there`, async () => {
    const folder = await oracle.savePictureModel(kind, `run-${kind}`);
    const captions = texts.slice(0, 4);
    const data = oracle.path(`run-${kind}.jsonl`);
    const rows = exact().map((path, row) => ({ image: basename(path), caption: captions[row] }));
    writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const losses: number[] = [];
    const { model: trained } = await train(
      {
        ...{ model: folder, data, output: oracle.path(`run-${kind}-output`), batch: 4, shuffle: false },
        ...{
          epochs: 2,
          chunk: { sequences: 3 },
          dropout: 0,
          optimizer: { lr: 1e-2 },
          schedule: { warmup: 0 },
        },
        ...{ precision: 'float64', device, checkpoint: false },
      },
      { onEvent: (event) => event.type === 'step' && losses.push(event.loss) },
    );
    const before = await oracle.pictureScores(folder, exact(), captions);
    assert.ok(Math.abs(losses[0]! - before.loss) <= 1e-6 * before.loss, `${losses[0]} and ${before.loss}`);

    const after = await oracle.pictureScores(trained, exact(), captions);
    using model = await ImageTextModel.load(trained, { device, precision: 'float64' });
    const [pictures, names] = [await model.images.encode(exact()), await model.captions.encode(captions)];
    const cosines = await numbers(pictures.normalize().matmul(names.normalize().t()));
    const ours = cosines.map((cosine) => cosine / model.temperature + (model.bias ?? 0));
    assert.ok(largestDifference(ours, after.scores.flat()) <= 1e-6 * largest(after.scores.flat()));
    assert.ok(after.loss < before.loss);
    assert.ok(
      largestDifference(after.scores.flat(), before.scores.flat()) > 1e-2,
      'the run changed the model',
    );
  });

  test(`${kind}: a model that is made opens in transformers`, async () => {
    const sizes = { hidden_size: 16, intermediate_size: 20, num_hidden_layers: 1, num_attention_heads: 2 };
    const tokenizer = await Tokenizer.fromFile(
      join(await oracle.savePictureModel(kind, `made-${kind}`), 'tokenizer.json'),
    );
    const config = {
      ...{ model_type: kind, projection_dim: 10 },
      text_config: {
        ...sizes,
        vocab_size: tokenizer.vocabularySize,
        max_position_embeddings: 20,
        eos_token_id: 3,
        pad_token_id: 0,
      },
      vision_config: { ...sizes, image_size: 32, patch_size: 8 },
    };
    using model = await ImageTextModel.create(config, tokenizer, { device, precision: 'float64' });
    const saved = oracle.path(`made-${kind}-saved`);
    await model.save(saved);
    const { images, captions } = await oracle.pictureFeatures(saved, exact(), texts);
    const tower = await numbers(await model.images.encode(exact()));
    assert.ok(largestDifference(tower, images.flat()) <= 1e-6 * largest(images.flat()));
    const names = await numbers(await model.captions.encode(texts));
    assert.ok(largestDifference(names, captions!.flat()) <= 1e-6 * largest(captions!.flat()));
  });
}

test('a picture that cannot be decoded is named, or passed over and told', async () => {
  const folder = await oracle.savePictureModel('vit', 'bad');
  using encoder = await ImageEncoder.load(folder);
  const broken = oracle.path('broken.png');
  writeFileSync(broken, 'no picture');
  await assert.rejects(encoder.read([paths[0]!, broken]), fails('INPUT', /broken\.png cannot be decoded/));
  await assert.rejects(encoder.read([oracle.path('none.png')]), fails('INPUT', /none\.png/));
  const { kept, bad, pixels } = await encoder.read([broken, ...exact()], { onBadPicture: 'skip' });
  assert.deepEqual(kept, [1, 2, 3, 4]);
  assert.deepEqual(pixels.shape, [4, 3, 32, 32]);
  assert.equal(bad[0]!.path, broken);
  await assert.rejects(
    encoder.read([broken], { onBadPicture: 'skip' }),
    fails('INPUT', /No picture can be decoded/),
  );
});
