import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { embedCommand } from '../../lib/cli/embed.js';
import { evaluateCommand } from '../../lib/cli/evaluate.js';
import { mineCommand } from '../../lib/cli/mine.js';
import { evaluateImageText, ImageTextModel, readRetrievalPairs } from '../../lib/index.js';
import { fails } from '../robustness/failures.js';
import { CLIP, saveModel, savePictures, saveText, saveViT } from '../training/picture-support.js';
import { pairs, temporaryFolder, writeRows } from '../training/support.js';
import { runCommand, withFlags } from './program.js';

test('evaluate and embed take pictures, whose paths begin in the folder of their file', async (t) => {
  const folder = await temporaryFolder(t);
  const photos = join(folder, 'photos');
  await mkdir(photos);
  const rows = await savePictures(photos);
  const data = await writeRows(join(photos, 'pairs.jsonl'), rows);
  const given = ['--model', await saveModel(CLIP, join(folder, 'clip')), '--device', 'cpu'];
  using model = await ImageTextModel.load(join(folder, 'clip'), { device: 'cpu' });
  const files = rows.map(({ image }) => join(photos, image));

  // What the command prints is what the function finds.
  const read = await readRetrievalPairs(data, { columns: ['image', 'caption'] });
  const { imageToText, textToImage } = await evaluateImageText(model, { ...read, queries: files });
  // A caption that no picture has is searched, but nothing is asked with it.
  const more = { ...read, queries: files, documents: [...read.documents, 'nothing of these'] };
  assert.equal((await evaluateImageText(model, more)).textToImage.recall[5], textToImage.recall[5]);
  await assert.rejects(
    evaluateImageText(model, { ...more, excluded: new Map([[0, 0]]) }),
    fails('INPUT', /excluded is .*; none/),
  );
  const measuring = [...given, '--data', data, '--images', 'image', '--json'];
  const { printed } = await runCommand(evaluateCommand, measuring);
  const scores = JSON.parse(printed[0]!) as Record<string, number>;
  assert.deepEqual([scores['pictures'], scores['captions']], [24, 24]);
  assert.equal(scores['image-to-text/mrr@10'], imageToText.mrr10);
  assert.equal(scores['text-to-image/recall@5'], textToImage.recall[5]);
  assert.notEqual(imageToText.mrr10, textToImage.mrr10);

  for (const [flags, encoded] of [
    [['--images', '--column', 'image'], await model.images.encode(files)],
    [['--column', 'caption'], await model.captions.encode(rows.map(({ caption }) => caption))],
  ] as const) {
    const output = join(folder, `${flags.length}.npy`);
    await runCommand(embedCommand, [...given, '--input', data, '--output', output, ...flags]);
    assert.deepEqual(await lastFloats(output, 24 * 12), [...(await encoded.values())]);
  }

  await writeFile(join(photos, 'broken.png'), 'no picture');
  const bad = await writeRows(join(photos, 'bad.jsonl'), [
    { image: 'broken.png', caption: 'nothing' },
    ...rows,
  ]);
  const message = /photos\/broken\.png cannot be decoded as a picture/;
  await assert.rejects(
    runCommand(evaluateCommand, [...given, '--data', bad, '--images', 'image']),
    fails('INPUT', message),
  );
  const reading = ['--input', bad, '--column', 'image', '--images', '--output', join(folder, 'bad.npy')];
  await assert.rejects(runCommand(embedCommand, [...given, ...reading]), fails('INPUT', message));

  for (const [flags, refusal] of [
    [['--columns', 'a,b'], /--images is image, and --columns is a,b, without it/],
    [['--images', 'caption'], /^--images is caption, the column of captions where --columns is not given/],
    [['--images', 'photo'], /it has no "photo"; .*of pictures: images, --images/],
    [['--dimensions', '4'], /--dimensions is for retrieval of texts/],
    [['--max-length', '4'], /--max-length is for models of texts alone/],
    [['--precision', 'tf32'], /--precision is tf32/],
  ] as const)
    await assert.rejects(runCommand(evaluateCommand, withFlags(measuring.slice(0, -1), ...flags)), {
      message: refusal,
    });
  await assert.rejects(
    runCommand(evaluateCommand, [...given, '--data', data, '--columns', 'image,caption']),
    fails('CHECKPOINT', /'clip' is not supported.*--images/s),
  );
});

test('paths of pictures are not read as texts by a folder of two models', async (t) => {
  const folder = await temporaryFolder(t);
  const rows = await savePictures(folder);
  const model = await saveText(join(folder, 'pair'));
  await saveViT(join(model, 'image_model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), rows);
  const given = ['--model', model, '--device', 'cpu', '--data', data];
  const output = ['--output', join(folder, 'mined.jsonl'), '--negatives', '1'];
  for (const columns of ['image,caption', 'caption,image']) {
    const named = [...given, '--columns', columns];
    await assert.rejects(runCommand(evaluateCommand, named), {
      code: 'INPUT',
      message:
        /--data is .*pairs\.jsonl, whose column "image" has paths of files.*: --images image takes them/,
    });
    await assert.rejects(runCommand(mineCommand, [...named, ...output]), {
      code: 'INPUT',
      message: /column "image" has paths of files.*Name columns of texts \(--columns\)/,
    });
  }
  for (const [command, args] of [
    [evaluateCommand, ['--data', data, '--images', 'image']],
    [embedCommand, ['--input', data, '--column', 'image', '--images', '--output', join(folder, 'x.npy')]],
  ] as const)
    await assert.rejects(
      runCommand(command, ['--model', await saveText(join(folder, 'text')), '--device', 'cpu', ...args]),
      {
        code: 'INPUT',
        message: /^--images is for pictures of a model .* --model is .*text, of model_type "bert"/,
      },
    );
  // Texts are texts, and it is told that the other model is not used.
  const texts = await writeRows(join(folder, 'texts.jsonl'), pairs(12));
  const ofTexts = ['--model', model, '--device', 'cpu', '--data', texts];
  for (const { said } of [
    await runCommand(evaluateCommand, ofTexts),
    await runCommand(mineCommand, [...ofTexts, ...output]),
  ])
    assert.match(
      said,
      /has a model of pictures too \(image_model\), which is not used here: .*evaluate --images/,
    );
});

/** The numbers at the end of a .npy file. */
async function lastFloats(path: string, count: number): Promise<number[]> {
  const bytes = (await readFile(path)).subarray(-4 * count);
  return [...new Float32Array(new Uint8Array(bytes).buffer)];
}
