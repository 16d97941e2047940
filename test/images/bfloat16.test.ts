/** Towers of pictures and captions that compute in bfloat16, beside themselves in float32. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { captionTower } from '../../lib/images/caption-tower.js';
import { randomWeights, TowerWeights } from '../../lib/images/tower-weights.js';
import {
  backward,
  GradCache,
  ImageEncoder,
  ImageTextModel,
  ImageTextPair,
  infoNCE,
  Tensor,
  TextEncoder,
  Tokenizer,
  withGrad,
  type Parameter,
} from '../../lib/index.js';
import { CLIP, savePictures, SIGLIP, TOKENIZER } from '../training/picture-support.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
const SIZES = { hidden_size: 64, intermediate_size: 128, num_hidden_layers: 3, num_attention_heads: 4 };
const larger = (config: typeof CLIP) => ({
  ...config,
  projection_dim: 64,
  text_config: { ...config.text_config, ...SIZES },
  vision_config: { ...config.vision_config, ...SIZES },
});

let folder: string;
let paths: string[];
let captions: string[];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradcache-bfloat16-pictures-'));
  const rows = await savePictures(folder);
  paths = rows.map(({ image }) => join(folder, image));
  captions = rows.map(({ caption }) => caption);
});
after(() => rm(folder, { recursive: true }));

function cosine(one: Float32Array, other: Float32Array): number {
  let [along, first, second] = [0, 0, 0];
  for (const [place, value] of one.entries()) {
    along += value * other[place]!;
    first += value * value;
    second += other[place]! * other[place]!;
  }
  return along / Math.sqrt(first * second);
}

const sizeOf = (numbers: Float32Array): number =>
  Math.sqrt(numbers.reduce((sum, value) => sum + value ** 2, 0));

function joined(parts: Iterable<Float32Array>): Float32Array {
  const list = [...parts];
  const all = new Float32Array(list.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of list) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const floats = async (tensor: Tensor): Promise<Float32Array> => {
  assert.equal(tensor.dtype, 'float32');
  return (await tensor.values()) as Float32Array;
};

/** What a step of a model leaves: representations, the loss and gradients by name, all of it float32. */
async function stepOf(model: ImageTextModel | ImageTextPair, chunk: number) {
  const { images, captions: tower } = model;
  const loss = infoNCE({ temperature: 0.05, symmetric: true });
  const gradcache = new GradCache({ encoders: [images, tower] as never, loss, chunk: { sequences: chunk } });
  const { pixels } = await images.read(paths);
  const step = await gradcache.step([pixels, await tower.tokenize(captions)] as never);
  const own: Parameter[] = [...images.parameters(), ...tower.parameters()];
  const gradients = new Map<string, Float32Array>();
  for (const { name, tensor } of own) gradients.set(name, await floats(tensor.grad!));
  const made = [await floats(await images.encode(paths)), await floats(await tower.encode(captions))];
  return { loss: step.loss, gradients, made };
}

const models = {
  clip: async (precision: 'float32' | 'bfloat16') =>
    ImageTextModel.create(larger(CLIP), await Tokenizer.fromFile(TOKENIZER), { device, precision, seed: 2 }),
  siglip: async (precision: 'float32' | 'bfloat16') =>
    ImageTextModel.create(larger(SIGLIP), await Tokenizer.fromFile(TOKENIZER), {
      device,
      precision,
      seed: 2,
    }),
  'ViT beside a text encoder': async (precision: 'float32' | 'bfloat16') =>
    new ImageTextPair(
      ImageEncoder.create(
        { model_type: 'vit', image_size: 16, patch_size: 8, ...SIZES },
        { device, precision, seed: 3 },
      ),
      TextEncoder.create(
        { model_type: 'bert', vocab_size: 8192, max_position_embeddings: 16, ...SIZES },
        await Tokenizer.fromFile(TOKENIZER),
        { device, precision, seed: 4, dropout: 0, normalize: false },
      ),
    ),
};

for (const [name, make] of Object.entries(models)) {
  test(`${name}: gradients in bfloat16 point where those in float32 do`, async () => {
    using wide = await make('float32');
    using narrow = await make('bfloat16');
    const expected = await stepOf(wide, 24);
    const found = await stepOf(narrow, 24);
    assert.ok(Math.abs(found.loss - expected.loss) <= 0.02 * expected.loss, `${found.loss} ${expected.loss}`);
    assert.notEqual(found.loss, expected.loss);
    for (const [place, made] of found.made.entries()) {
      assert.ok(cosine(made, expected.made[place]!) >= 0.9995);
      assert.notDeepEqual(made, expected.made[place]);
    }
    const all = (step: typeof found) => joined(step.gradients.values());
    assert.ok(cosine(all(found), all(expected)) >= 0.999, `${cosine(all(found), all(expected))}`);
    const largest = Math.max(...Array.from(expected.gradients.values(), sizeOf));
    for (const [parameter, gradient] of found.gradients) {
      const reference = expected.gradients.get(parameter)!;
      // Keys' biases have no gradient but rounding.
      if (sizeOf(reference) < 1e-3 * largest) continue;
      assert.ok(cosine(gradient, reference) >= 0.99, `${parameter}: ${cosine(gradient, reference)}`);
    }
    using again = await make('bfloat16');
    const inChunks = await stepOf(again, 5);
    assert.ok(cosine(all(inChunks), all(found)) >= 0.9999, `${cosine(all(inChunks), all(found))}`);
  });
}

test('the row of a word that is everywhere gathers its gradient in float32', async () => {
  const config = { ...SIZES, vocab_size: 50, max_position_embeddings: 16, projection_size: 8 };
  const tower = captionTower('siglip', config, { projection: 8, dropout: 0 });
  const stored = randomWeights(tower.shapes, 0.05, 1);
  const rowOf = async (precision: 'float32' | 'bfloat16'): Promise<Float32Array> => {
    const weights = new TowerWeights(tower, '', stored, { device, precision });
    const ids = Tensor.from(new BigInt64Array(400 * 16).fill(7n), { shape: [400, 16], device });
    await backward([withGrad(() => weights.encode(ids, true).sum())], [null]);
    const { tensor } = weights.parameters.find(({ name }) => name === 'embeddings.token_embedding.weight')!;
    const gradient = await floats(tensor.grad!);
    weights.dispose();
    return gradient.slice(7 * 64, 8 * 64);
  };
  const [expected, found] = [await rowOf('float32'), await rowOf('bfloat16')];
  const difference = found.map((value, place) => value - expected[place]!);
  assert.ok(sizeOf(difference) <= 0.02 * sizeOf(expected), `${sizeOf(difference) / sizeOf(expected)}`);
});
