import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { ImageTextModel, Tokenizer } from '../../lib/index.js';
import { dataFiles } from '../../lib/data/data-files.js';
import { readPicture } from '../../lib/images/picture.js';
import type { TrainConfig } from '../../lib/training/config.js';
import type { TrainEvent } from '../../lib/training/events.js';
import { folderOfPictures } from '../../lib/training/picture-paths.js';
import { train } from '../../lib/training/train.js';
import { gradcache } from '../cli/program.js';
import { fails } from '../robustness/failures.js';
import { CLIP, saveModel, savePictures, SIGLIP, TOKENIZER } from './picture-support.js';
import { digests, record, temporaryFolder, writeRows } from './support.js';

let shared: string;
/** Paths from the folder of all pictures, with their captions. */
let rows: readonly { image: string; caption: string }[];

before(async () => {
  shared = await mkdtemp(join(tmpdir(), 'gradcache-pictures-'));
  await saveModel(CLIP, join(shared, 'clip'));
  await saveModel(SIGLIP, join(shared, 'siglip'));
  rows = await savePictures(shared);
});

after(() => rm(shared, { recursive: true, force: true }));

/** A run whose data lies in the folder of the pictures. */
async function pictureRun(
  t: TestContext,
  more: readonly { image: string; caption: string }[] = [],
): Promise<{ folder: string; config: TrainConfig }> {
  const folder = await temporaryFolder(t);
  const data = await writeRows(join(shared, `${folder.split('-').at(-1)}.jsonl`), [...rows, ...more]);
  const config: TrainConfig = {
    model: join(shared, 'clip'),
    data,
    output: join(folder, 'run'),
    batch: 8,
    chunk: { sequences: 3 },
    optimizer: { lr: 1e-2 },
    device: 'cpu',
  };
  return { folder, config };
}

const ofType = <Type extends TrainEvent['type']>(events: readonly TrainEvent[], type: Type) =>
  events.filter((event): event is Extract<TrainEvent, { type: Type }> => event.type === type);

for (const precision of ['float32', 'bfloat16'] as const)
  test(`CLIP learns from files and captions in ${precision}, with its own temperature, and finds them again`, async (t) => {
    const { config } = await pictureRun(t);
    const data = await writeRows(
      join(shared, 'colours.jsonl'),
      rows.filter((_, place) => place % 4 === 0),
    );
    const { events, steps } = await record({
      ...config,
      ...{ data, batch: 6, epochs: 30, precision },
      evaluation: { data, before: true, loss: true, task: 'retrieval' },
    });
    assert.ok(steps.at(-1)!.loss < steps[0]!.loss / 2, `${steps[0]!.loss} to ${steps.at(-1)!.loss}`);
    assert.ok(Math.abs(steps[0]!.temperature! - 0.07) < 0.01, 'that of the model, after an update');
    // [CLS] a red bar left [SEP], and pictures have no tokens
    assert.ok(steps[0]!.tokens >= 6 * 5 && steps[0]!.tokens <= 6 * 8, String(steps[0]!.tokens));
    const [first, last] = ofType(events, 'evaluation').map(({ scores }) => scores);
    for (const score of ['image-to-text/recall@1', 'text-to-image/recall@1'])
      assert.ok(
        last![score]! >= 0.8 && first![score]! <= 0.5,
        `${score}: ${first![score]} to ${last![score]}`,
      );
    assert.ok(last!['loss']! < first!['loss']!);
    const [start] = ofType(events, 'start');
    assert.equal(start!.precision, precision);
    const { images, loss, columns } = start!.settings as unknown as TrainConfig;
    assert.deepEqual([images, columns], ['image', ['image', 'caption']]);
    assert.deepEqual(
      [loss!.kind, (loss as { learned: boolean }).learned, (loss as { symmetric: boolean }).symmetric],
      ['infonce', true, true],
    );
    using model = await ImageTextModel.load(join(config.output, 'model'));
    assert.ok(Math.abs(model.temperature - steps.at(-1)!.temperature!) < 1e-6);
  });

test('SigLIP trains by its own loss, from the scale and bias of its folder', async (t) => {
  const { config } = await pictureRun(t);
  const run = { ...config, model: join(shared, 'siglip'), steps: 5, data: [config.data as string] };
  const { events } = await record(run);
  const { loss } = ofType(events, 'start')[0]!.settings as unknown as TrainConfig;
  const { kind, scale, bias } = loss as { kind: string; scale: number; bias: number };
  assert.deepEqual([kind, bias], ['siglip', -10]);
  assert.ok(Math.abs(scale - 10) < 1e-5);
  using model = await ImageTextModel.load(join(config.output, 'model'));
  assert.ok(model.bias! !== -10 && Math.abs(model.bias! + 10) < 0.1, String(model.bias));
  const names = Object.keys(await digests(join(config.output, 'model')));
  assert.deepEqual(names.sort(), [
    'config.json',
    'model.safetensors',
    'preprocessor_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
});

test('a run that is resumed makes the model of one that was not interrupted', async (t) => {
  const { folder, config } = await pictureRun(t);
  const whole = { ...config, dropout: 0.1, steps: 6, checkpoint: { every: 3, keep: 5 } };
  await train(whole);
  await train({ output: join(folder, 'again'), resume: join(config.output, 'checkpoint-3') });
  assert.deepEqual(
    await digests(join(folder, 'again', 'model')),
    await digests(join(config.output, 'model')),
  );
  await assert.rejects(
    train({ output: join(folder, 'other'), resume: join(config.output, 'checkpoint-3'), images: 'caption' }),
    fails('INPUT', /images was "image", now "caption"/),
  );
});

test('a fault in held-out data leaves a checkpoint of what was trained', async (t) => {
  const { config } = await pictureRun(t);
  await writeFile(join(shared, 'held-bad.png'), 'no picture');
  const held = await writeRows(join(shared, 'held-bad.jsonl'), [
    ...rows.slice(0, 3),
    { image: 'held-bad.png', caption: 'nothing' },
  ]);
  const run = { ...config, steps: 2, evaluation: { data: held, task: 'retrieval' as const } };
  await assert.rejects(train(run), fails('INPUT', /held-bad\.png cannot be decoded/));
  assert.ok((await readdir(config.output)).includes('checkpoint-2'));
  // What was left is gone on from, once the data is mended.
  await writeRows(held, rows.slice(0, 3));
  assert.equal((await train({ output: config.output, resume: true })).steps, 2);
});

test('a pipe is no picture, and is not waited for', async () => {
  const pipe = join(shared, 'pipe.png');
  execFileSync('mkfifo', [pipe]);
  await assert.rejects(
    readPicture(pipe),
    fails('INPUT', /pipe\.png cannot be decoded as a picture: it is no file/),
  );
});

test('a picture that cannot be decoded ends the run with its path, or is counted and its row left out', async (t) => {
  const bad = Array.from({ length: 12 }, (_, k) => ({ image: `bad-${k}.png`, caption: `nothing ${k}` }));
  const { config } = await pictureRun(t, bad);
  for (const { image } of bad.slice(1)) await writeFile(join(shared, image), 'no picture');
  await assert.rejects(
    train({ ...config, batch: 36, epochs: 1 }),
    fails('INPUT', /bad-\d+\.png cannot be (decoded as a picture|read).*--on-bad-line skip/s),
  );
  const held = await writeRows(join(shared, 'held.jsonl'), [...rows.slice(0, 6), ...bad.slice(0, 2)]);
  const evaluation = { data: held, task: 'retrieval' as const, loss: true };
  const { events, steps } = await record({
    ...config,
    ...{ batch: 36, epochs: 3, onBadLine: 'skip', evaluation },
  });
  assert.deepEqual(
    steps.map(({ pairs }) => pairs),
    [24, 24, 24],
  );
  const told = ofType(events, 'skipped').map(({ message }) => message);
  assert.equal(told.length, 10, 'the first ten are named');
  for (const message of told) assert.match(message, /bad-\d+\.png cannot be (decoded as a picture|read)/);
  const [total] = ofType(events, 'skippedTotal');
  assert.deepEqual([total!.pictures, total!.lines], [12, 0]);
  const [measured] = ofType(events, 'evaluation');
  assert.equal(measured!.hardest?.kind === 'queries' && measured!.hardest.measured, 6);
  await assert.rejects(
    train({
      ...config,
      output: `${config.output}-2`,
      data: await writeRows(join(shared, 'all-bad.jsonl'), bad),
      onBadLine: 'skip',
      steps: 1,
    }),
    fails(
      'INPUT',
      /^No batch has anything to train on: none of its pictures can be decoded. The first: .*bad-\d+/,
    ),
  );
});

test('a batch whose pictures are all bad is passed over, and its update keeps its number', async (t) => {
  const bad = Array.from({ length: 4 }, (_, k) => ({ image: `void-${k}.png`, caption: `nothing ${k}` }));
  const { folder, config } = await pictureRun(t);
  const data = await writeRows(join(shared, 'batch-of-bad.jsonl'), [
    ...rows.slice(0, 4),
    ...bad,
    ...rows.slice(4, 8),
  ]);
  const run = {
    ...config,
    data,
    batch: 4,
    epochs: 2,
    shuffle: false,
    onBadLine: 'skip',
    dropout: 0,
  } as const;
  const whole = await record({ ...run, checkpoint: { every: 2, keep: 5 } });
  assert.deepEqual(
    whole.steps.map(({ step, pairs }) => [step, pairs]),
    [
      [1, 4],
      [3, 4],
      [4, 4],
      [6, 4],
    ],
  );
  const notes = ofType(whole.events, 'note').map(({ message }) => message);
  assert.ok(
    notes.some((note) =>
      /^step 2 \(epoch 0, batch 1\) is passed over: none of its pictures .*void-0\.png/.test(note),
    ),
    notes.join('\n'),
  );
  assert.equal(ofType(whole.events, 'skippedTotal')[0]!.pictures, 4);
  const again = join(folder, 'again');
  await train({ output: again, resume: join(config.output, 'checkpoint-2') });
  assert.deepEqual(await digests(join(again, 'model')), await digests(join(config.output, 'model')));
  // The others of an update of several batches make it.
  const { steps } = await record({ ...run, output: join(folder, 'three'), accumulate: 3 });
  assert.deepEqual(
    steps.map(({ pairs }) => pairs),
    [8, 8],
  );
  // A run in steps does not go over bad files for ever.
  const none = await writeRows(join(shared, 'all-void.jsonl'), bad);
  await assert.rejects(
    train({ ...config, output: join(folder, 'none'), data: none, batch: 2, onBadLine: 'skip', steps: 1e6 }),
    fails('INPUT', /^No batch has anything to train on: none of its pictures can be decoded/),
  );
});

test('the loss of held-out pictures is that without the bad ones, of which a last batch may have no other', async (t) => {
  const { folder, config } = await pictureRun(t);
  const good = rows.slice(0, 8);
  await writeFile(join(shared, 'bad.png'), 'no picture');
  const losses: number[] = [];
  for (const more of [[], [{ image: 'bad.png', caption: 'nothing' }]]) {
    const data = await writeRows(join(shared, `loss-${more.length}.jsonl`), [...good, ...more]);
    const output = join(folder, data.split('/').at(-1)!);
    const evaluation = { data, loss: true };
    const { events } = await record({ ...config, output, onBadLine: 'skip', steps: 1, evaluation });
    losses.push(ofType(events, 'evaluation')[0]!.scores['loss']!);
  }
  assert.ok(Number.isFinite(losses[0]));
  assert.equal(losses[1], losses[0]);
});

test('rows of pictures that share an id are no negatives of each other, and those of bad pictures are left out with their ids', async (t) => {
  const { folder, config } = await pictureRun(t);
  await writeFile(join(shared, 'bad.png'), 'no picture');
  const good = rows.slice(0, 8).map((row, place) => ({ ...row, topic: place % 4 }));
  const bad = { image: 'bad.png', caption: 'nothing', topic: 9 };
  const losses: number[] = [];
  for (const [place, all] of [good, [bad, ...good]].entries()) {
    const data = await writeRows(join(shared, `ids-${place}.jsonl`), all);
    const run = {
      ...config,
      data,
      batch: all.length,
      shuffle: false,
      dropout: 0,
      steps: 1,
      onBadLine: 'skip',
    } as const;
    const ids = await record({ ...run, ids: 'topic', output: join(folder, `ids-${place}`) });
    const none = await record({ ...run, uniqueTexts: false, output: join(folder, `none-${place}`) });
    losses.push(ids.steps[0]!.loss, none.steps[0]!.loss);
  }
  assert.ok(losses[0]! < losses[1]! - 0.01, `${losses.join()}`);
  assert.ok(Math.abs(losses[0]! - losses[2]!) < 1e-6, `${losses.join()}`);
  const refused = record({ ...config, model: join(shared, 'siglip'), ids: 'topic' });
  await assert.rejects(refused, { code: 'INPUT', message: /config\.ids .* the loss siglip takes no ids/ });
});

test('two processes pass over the same pictures, tell those of both, and train what one does', async (t) => {
  const bad = ['x.png', 'y.png', 'z.png'].map((image) => ({ image, caption: `no ${image}` }));
  const { folder, config } = await pictureRun(t, bad);
  const run = { ...config, precision: 'float64' as const, batch: 9, epochs: 2, onBadLine: 'skip' as const };
  const evaluation = { data: config.data as string };
  const alone = await record({ ...run, evaluation });
  const output = join(folder, 'two');
  const file = join(folder, 'run.json');
  await writeFile(file, JSON.stringify({ ...run, evaluation, output }));
  const { code, stdout, stderr } = await gradcache(['train', '--config', file, '--ranks', '2', '--json']);
  assert.equal(code, 0, stderr);
  const together = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as TrainEvent);
  for (const [place, { loss, pairs, tokens }] of ofType(together, 'step').entries()) {
    const { [place]: expected } = alone.steps;
    assert.ok(Math.abs(loss - expected!.loss) < 1e-9, `${loss} and ${expected!.loss}`);
    assert.deepEqual([pairs, tokens], [expected!.pairs, expected!.tokens]);
  }
  assert.deepEqual(ofType(together, 'evaluation')[0]!.scores, ofType(alone.events, 'evaluation')[0]!.scores);
  for (const events of [alone.events, together]) {
    const told = ofType(events, 'skipped').map(({ message }) => /([xyz])\.png/.exec(message)?.[1]);
    assert.deepEqual(told.sort(), ['x', 'y', 'z']);
    assert.equal(ofType(events, 'skippedTotal')[0]!.pictures, 3);
  }
});

test('a batch of which a rank has no good picture is passed over, and told with what that rank has found', async (t) => {
  const { folder, config } = await pictureRun(t);
  // Of the four rows of a batch, the second rank has those of middle length.
  const bad = [0, 1].map((n) => ({ image: `hollow-${n}.png`, caption: `nothing at all, number ${n}` }));
  for (const { image } of bad) await writeFile(join(shared, image), 'no picture');
  const data = await writeRows(join(shared, 'second-void.jsonl'), [
    { ...rows[0]!, caption: `${rows[0]!.caption}, longer than the others` },
    ...bad,
    ...rows.slice(1, 6),
  ]);
  const run = { ...config, data, batch: 4, steps: 2, shuffle: false, onBadLine: 'skip' as const };
  const file = join(folder, 'run.json');
  await writeFile(file, JSON.stringify(run));
  const { code, stdout, stderr } = await gradcache(['train', '--config', file, '--ranks', '2', '--json']);
  assert.equal(code, 0, stderr);
  const events = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as TrainEvent);
  const reason = 'hollow-0\\.png cannot be decoded as a picture: .*unsupported image format';
  const [note] = ofType(events, 'note').flatMap(({ message }) =>
    /passed over/.test(message) ? [message] : [],
  );
  assert.match(
    note!,
    new RegExp(
      `^step 1 .* is passed over: of the pictures of rank 1 none can be decoded, .* The first: .*${reason}$`,
    ),
  );
  // The rank that tells it has not read it itself.
  const skipped = ofType(events, 'skipped').map(({ message }) => message);
  assert.equal(skipped.length, 2);
  assert.match(skipped[0]!, new RegExp(`^rank 1: .*${reason}`));
});

test('paths begin in the folder of their file, and the data can be moved', async (t) => {
  const { folder, config } = await pictureRun(t);
  const below = join(shared, 'below');
  await mkdir(below);
  await rename(join(shared, rows[0]!.image), join(below, 'moved.png'));
  t.after(() => rename(join(below, 'moved.png'), join(shared, rows[0]!.image))); // for the tests behind this one
  const first = await writeRows(
    join(shared, 'first.jsonl'),
    rows.slice(4).map(({ image, caption }) => ({ file: image, text: caption })),
  );
  const second = await writeRows(
    join(below, 'second.jsonl'),
    [{ image: 'moved.png', caption: rows[0]!.caption }, ...rows.slice(1, 4)].map(({ image, caption }) => ({
      file: image === 'moved.png' ? image : join('..', image),
      text: caption,
    })),
  );
  const run = { ...config, data: [first, second], images: 'file', epochs: 1, shuffle: false };
  const { events } = await record(run);
  assert.deepEqual(ofType(events, 'start')[0]!.columns, ['file', 'text']);
  // The same as with paths from the root: nothing of the rows or of the model tells where they lie.
  const whole = await writeRows(
    join(folder, 'whole.jsonl'),
    [
      ...rows.slice(4),
      { image: join(below, 'moved.png'), caption: rows[0]!.caption },
      ...rows.slice(1, 4),
    ].map(({ image, caption }) => ({
      file: image.startsWith('/') ? image : join(shared, image),
      text: caption,
    })),
  );
  const output = join(folder, 'other');
  await train({ ...run, data: whole, output });
  assert.deepEqual(await digests(join(output, 'model')), await digests(join(config.output, 'model')));
  const order = JSON.parse(await readFile(join(config.output, 'settings.json'), 'utf8')) as {
    images: string;
  };
  assert.equal(order.images, 'file');
});

test('paths of held-out files begin in their folder, and those of rows without a file in the current one', async (t) => {
  const { folder, config } = await pictureRun(t);
  const [first, second] = [join(folder, 'held'), join(folder, 'other')];
  for (const each of [first, second]) {
    await mkdir(each);
    for (const { image } of rows.slice(0, 3)) await copyFile(join(shared, image), join(each, image));
  }
  await writeRows(join(first, 'a.jsonl'), rows.slice(0, 2));
  await writeRows(join(first, 'b.jsonl'), rows.slice(2, 3));
  const run = { ...config, steps: 1 };
  const { events } = await record({ ...run, evaluation: { data: first, task: 'retrieval', loss: true } });
  const [measured] = ofType(events, 'evaluation');
  assert.equal(measured!.hardest?.kind === 'queries' && measured!.hardest.measured, 3);
  assert.ok(Number.isFinite(measured!.scores['loss']));
  await writeRows(join(second, 'a.jsonl'), rows.slice(0, 3));
  await assert.rejects(
    train({ ...run, output: join(folder, 'two'), evaluation: { data: join(folder, '*', 'a.jsonl') } }),
    fails('INPUT', /has files in .*held and in .*other, .*name files of one folder/),
  );
  for (const stream of ['-', '/dev/fd/0'])
    assert.equal(folderOfPictures(dataFiles([stream])), process.cwd(), stream);
});

test('a new model, a tower that stays as it is, and another loss', async (t) => {
  const { config } = await pictureRun(t);
  const model = { config: CLIP, tokenizer: TOKENIZER };
  const frozen = ['vision_model', 'visual_projection'];
  const run = {
    ...config,
    model,
    frozen,
    steps: 2,
    loss: { kind: 'multi-similarity' as const },
    columns: ['caption', 'image'],
    images: 'image',
  };
  const data = await writeRows(
    join(shared, 'labelled.jsonl'),
    rows.map((row, k) => ({ ...row, label: k % 4 })),
  );
  await train({ ...run, data, uniqueTexts: false });
  using before = await ImageTextModel.create(CLIP, await Tokenizer.fromFile(TOKENIZER), { seed: 1 });
  using trained = await ImageTextModel.load(join(config.output, 'model'));
  const path = [join(shared, rows[0]!.image)];
  const values = async ({ images, captions }: ImageTextModel) => [
    [...(await (await images.encode(path)).values())],
    [...(await (await captions.encode(['a red bar'])).values())],
  ];
  const [then, now] = [await values(before), await values(trained)];
  assert.deepEqual(now[0], then[0]);
  assert.notDeepEqual(now[1], then[1]);
});

test('settings that pictures do not take are refused, and so is a model without a tower of them', async (t) => {
  const { folder, config } = await pictureRun(t);
  const run = { ...config, steps: 1, images: 'image' };
  const refusals: readonly [object, RegExp][] = [
    [{ maxLength: 5 }, /maxLength is for models of texts/],
    [{ embeddingGradients: 'rows' }, /embeddingGradients is for models of texts/],
    [{ prompts: { caption: 'x' } }, /prompts is for models of texts/],
    [{ prompts: { anchor: 'x' } }, /prompts is for models of texts/],
    [
      { data: undefined, datasets: [{ data: config.data as string, prompts: { caption: 'x' } }] },
      /datasets\[0\]\.prompts is for models of texts/,
    ],
    [{ memory: { capacity: 5 } }, /memory is for models of texts/],
    [{ chunk: { tokens: 5 } }, /chunk\.sequences/],
    [{ precision: 'bfloat16', masterWeights: 'host' }, /masterWeights is for models of texts/],
    [{ precision: 'tf32' }, /precision is "tf32"; "float32", "bfloat16" or "float64", for pictures/],
    [{ loss: { kind: 'splade' } }, /loss\.kind is "splade"/],
    [{ loss: { kind: 'gist-embed', guide: 'x' } }, /loss\.kind is "gist-embed"/],
    [{ evaluation: { data: 'x', task: 'sts' } }, /evaluation\.task is "sts"/],
    [{ evaluation: { data: 'x', dimensions: [4] } }, /evaluation\.dimensions is for models of texts/],
    [{ columns: ['a', 'b'] }, /images is "image"; one of the columns a, b is needed/],
    [{ images: 'nothing' }, /it has no "nothing"; .*\(columns, --columns; of pictures: images, --images\)/],
    [{ images: 'caption' }, /config\.images is "caption", the column of captions .* has "image", "caption"/],
    [
      { images: 'caption', columns: ['image', 'caption'] },
      /cannot be read: .*name another column of paths \(images, --images\)/,
    ],
    [{ frozen: ['vision'] }, /begin with vision_model, visual_projection, text_model, text_projection/],
    [{ frozen: ['*'] }, /nothing is left to train/],
    [
      { model: { config: CLIP, tokenizer: TOKENIZER, pooling: 'mean' } },
      /model\.pooling is for models of texts/,
    ],
    [
      { model: { config: { model_type: 'bert' }, tokenizer: TOKENIZER } },
      /the model is of model_type "bert"/,
    ],
    [{ model: join(folder, 'none') }, /the model is no folder with a config\.json/],
  ];
  for (const [settings, message] of refusals)
    await assert.rejects(train({ ...run, ...settings }), fails('INPUT', message), String(message));
});

test('a new model is refused where its configuration does not fit its tokenizer', async () => {
  const tokenizer = await Tokenizer.fromFile(TOKENIZER);
  const wrong = (text: object) => ({ ...CLIP, text_config: { ...CLIP.text_config, ...text } });
  for (const [config, message] of [
    [wrong({ eos_token_id: 1 }), /eos_token_id is 1, and the tokenizer ends a caption with token 3/],
    [wrong({ vocab_size: 8 }), /vocab_size is 8; 8192 or more/],
    [{ model_type: 'vit' }, /model_type is "vit"/],
    [{ ...SIGLIP, text_config: { ...SIGLIP.text_config, projection_size: 4 } }, /projection_size is 4; 16/],
  ] as const)
    await assert.rejects(ImageTextModel.create(config, tokenizer), fails('CHECKPOINT', message));
  await assert.rejects(ImageTextModel.create('x' as never, tokenizer), fails('INPUT', /config is "x"/));
  await assert.rejects(ImageTextModel.create(CLIP, 'x' as never), fails('INPUT', /tokenizer is "x"/));
});
