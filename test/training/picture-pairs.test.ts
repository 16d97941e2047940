/** A model of pictures of its own folder, such as a ViT, that is trained beside a text encoder. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import {
  evaluateImageText,
  ImageEncoder,
  ImageTextPair,
  readRetrievalPairs,
  TextEncoder,
} from '../../lib/index.js';
import type { TrainConfig } from '../../lib/training/config.js';
import { train } from '../../lib/training/train.js';
import { gradcache } from '../cli/program.js';
import { trainEach } from '../distributed/train-each.js';
import { fails } from '../robustness/failures.js';
import { CLIP, saveModel, savePictures, saveText, saveViT } from './picture-support.js';
import { digests, record, temporaryFolder, writeRows } from './support.js';

let shared: string;

before(async () => {
  shared = await mkdtemp(join(tmpdir(), 'gradcache-picture-pairs-'));
  await saveViT(join(shared, 'vit'));
  await saveText(join(shared, 'text'));
  const rows = await savePictures(shared);
  await writeRows(join(shared, 'pairs.jsonl'), rows);
  await writeRows(
    join(shared, 'colours.jsonl'),
    rows.filter((_, place) => place % 4 === 0),
  );
});

after(() => rm(shared, { recursive: true, force: true }));

async function pairRun(t: TestContext): Promise<{ folder: string; config: TrainConfig }> {
  const folder = await temporaryFolder(t);
  const config: TrainConfig = {
    ...{ model: join(shared, 'text'), imageModel: join(shared, 'vit'), data: join(shared, 'pairs.jsonl') },
    ...{ output: join(folder, 'run'), batch: 8, chunk: { sequences: 3 }, device: 'cpu', steps: 4 },
    optimizer: { lr: 1e-2 },
  };
  return { folder, config };
}

test('a ViT and a text encoder learn from pictures and captions, and their folder opens as both, and as each', async (t) => {
  const { folder, config } = await pairRun(t);
  const { steps: _, ...others } = config;
  const data = join(shared, 'colours.jsonl');
  const { events, steps } = await record({
    ...{ ...others, data, batch: 6, epochs: 80, dropout: 0 },
    evaluation: { data, before: true, loss: true, task: 'retrieval' },
  });
  assert.ok(steps.at(-1)!.loss < steps[0]!.loss / 2, `${steps[0]!.loss} to ${steps.at(-1)!.loss}`);
  assert.ok(Math.abs(steps[0]!.temperature! - 0.07) < 0.01, String(steps[0]!.temperature));
  assert.ok(steps[0]!.tokens >= 6 * 5 && steps[0]!.tokens <= 6 * 8, String(steps[0]!.tokens));
  const [first, last] = events.flatMap((event) => (event.type === 'evaluation' ? [event.scores] : []));
  const asked = ['image-to-text/recall@1', 'text-to-image/recall@1'];
  for (const score of asked)
    assert.ok(last![score]! >= 0.8 && first![score]! <= 0.5, `${score}: ${first![score]} to ${last![score]}`);
  const model = join(config.output, 'model');
  assert.deepEqual(
    (await readdir(model)).filter((name) => /image_model|config\.json|loss/.test(name)).sort(),
    ['config.json', 'image_model', 'loss.safetensors', 'sentence_bert_config.json', 'tokenizer_config.json'],
  );
  using pair = await ImageTextPair.load(model, { device: 'cpu' });
  using images = await ImageEncoder.load(join(model, 'image_model'), { device: 'cpu' });
  using captions = await TextEncoder.load(model, { device: 'cpu' });
  const task = await readRetrievalPairs(data, { columns: ['image', 'caption'] });
  const inPlace = { ...task, queries: task.queries.map((path) => join(shared, path)) };
  for (const towers of [pair, { images, captions }]) {
    const { imageToText, textToImage } = await evaluateImageText(towers, inPlace);
    assert.deepEqual(
      [imageToText.recall[1], textToImage.recall[1]],
      asked.map((score) => last![score]),
    );
  }
  await pair.save(join(folder, 'again'));
  const [again, before] = [await digests(join(folder, 'again')), await digests(model)];
  delete before['loss.safetensors'];
  assert.deepEqual(again, before);
  // The command line finds the model of pictures in the folder.
  const told = await gradcache(['evaluate', '--model', model, '--data', data, '--images', 'image', '--json']);
  assert.equal(told.code, 0, told.stderr);
  const scores = JSON.parse(told.stdout) as Record<string, number>;
  for (const score of asked) assert.equal(scores[score], last![score]);
  const vectors = join(folder, 'pictures.npy');
  const embed = [
    'embed',
    '--model',
    model,
    '--images',
    '--input',
    data,
    '--column',
    'image',
    '--output',
    vectors,
  ];
  const { code, stderr } = await gradcache(embed);
  assert.equal(code, 0, stderr);
});

test('a run that is resumed makes the models of one that was not interrupted, also over ranks', async (t) => {
  const { folder, config } = await pairRun(t);
  const whole = { ...config, dropout: 0.1, checkpoint: { every: 2, keep: 5 } };
  await train(whole);
  const resume = join(config.output, 'checkpoint-2');
  await train({ output: join(folder, 'again'), resume });
  const expected = await digests(join(config.output, 'model'));
  assert.ok('image_model/model.safetensors' in expected);
  assert.deepEqual(await digests(join(folder, 'again', 'model')), expected);
  await assert.rejects(
    train({ output: join(folder, 'other'), resume, imageModel: join(shared, 'other') }),
    fails('INPUT', /imageModel was .*vit.*, now /),
  );
  const divided = { ...whole, dropout: 0, divideOptimizer: true, output: join(folder, 'ranks') };
  const alone = await record({ ...divided, output: join(folder, 'alone') });
  const [[told]] = (await trainEach(folder, [[divided, divided]])) as [
    Awaited<ReturnType<typeof trainEach>>[0],
  ];
  assert.equal(told!.code, undefined, told!.message);
  const losses = told!.events.flatMap((event) => (event.type === 'step' ? [event.loss] : []));
  for (const [place, { loss }] of alone.steps.entries()) assert.ok(Math.abs(losses[place]! - loss) < 1e-4);
});

test('a run that starts from both goes on with both, whether it names the pictures or not', async (t) => {
  const { folder, config } = await pairRun(t);
  await train(config);
  const { imageModel: _, images: __, ...rest } = config;
  const model = join(config.output, 'model');
  for (const [output, named] of [
    ['named', { images: 'image' }],
    ['usual', {}],
  ] as const) {
    const next = { ...rest, ...named, model, output: join(folder, output) };
    const { events } = await record({ ...next, lossFrom: model });
    const [start] = events;
    assert.ok(start?.type === 'start');
    assert.equal(start.settings['imageModel'], join(model, 'image_model'));
    const [before, after] = [await digests(model), await digests(join(next.output, 'model'))];
    assert.notEqual(after['image_model/model.safetensors'], before['image_model/model.safetensors']);
  }
});

test('either model can be frozen, the text encoder by its names and the other by image_model', async (t) => {
  const { config } = await pairRun(t);
  const before = await digests(join(shared, 'vit'));
  for (const [frozen, ofImages] of [
    [['image_model'], true],
    [['embeddings', 'encoder', 'image_model.embeddings'], false],
  ] as const) {
    const output = `${config.output}-${frozen.length}`;
    await train({ ...config, output, frozen });
    const after = await digests(join(output, 'model', 'image_model'));
    assert.equal(after['model.safetensors'] === before['model.safetensors'], ofImages);
    const weights = 'model.safetensors';
    const ofTexts = (await digests(join(output, 'model')))[weights];
    assert.equal(ofTexts === (await digests(join(shared, 'text')))[weights], !ofImages);
  }
  for (const [frozen, message] of [
    [['image_model.nothing'], /frozen\[0\].*image_model\.nothing.*begins the name of no parameter/],
    [['nothing'], /nothing/],
    [['embeddings', 'encoder', 'image_model'], /names every parameter of both models/],
  ] as const)
    await assert.rejects(
      train({ ...config, output: `${config.output}-none`, frozen }),
      fails('INPUT', message),
    );
});

test('models and settings that do not go together are refused, each by its name', async (t) => {
  const { folder, config } = await pairRun(t);
  const clip = await saveModel(CLIP, join(folder, 'clip'));
  const wide = await saveViT(join(folder, 'wide'), 24);
  const wrong: [Partial<TrainConfig>, RegExp][] = [
    [
      { imageModel: wide },
      /imageModel is .*wide.*, with representations of 24 numbers, and those of model have 16; one length/,
    ],
    [
      { model: clip },
      /imageModel is .*, and the model is of model_type "clip", which has a tower of pictures/,
    ],
    [{ imageModel: join(shared, 'text') }, /config\.imageModel is .*text", of model_type "bert"; a model of/],
    [
      { model: join(shared, 'vit') },
      /config\.model is of model_type "vit", a model of pictures alone: name it as imageModel \(--image-model\)/,
    ],
    [{ lora: { rank: 2 } }, /lora is for models of texts/],
    [{ precision: 'tf32' }, /precision is "tf32"; "float32", "bfloat16" or "float64", for pictures/],
    [{ images: 'photo' }, /it has no "photo"/],
  ];
  for (const [more, message] of wrong)
    await assert.rejects(train({ ...config, ...more }), fails('INPUT', message));
  await assert.rejects(
    ImageTextPair.load(join(shared, 'text')),
    fails('CHECKPOINT', /has no folder image_model/),
  );
  using captions = await TextEncoder.load(join(shared, 'text'), { device: 'cpu' });
  using images = await ImageEncoder.load(wide, { device: 'cpu' });
  assert.throws(
    () => new ImageTextPair(images, captions),
    fails('INPUT', /24 numbers, and captions of 16; one length/),
  );
  assert.throws(
    () => new ImageTextPair('x' as never, captions),
    fails('INPUT', /images is "x"; an ImageEncoder/),
  );
  assert.throws(
    () => new ImageTextPair(images, 'x' as never),
    fails('INPUT', /captions is "x"; a TextEncoder/),
  );
});
