/** Pictures that are decoded and prepared on threads, where they are many. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { pathToFileURL } from 'node:url';
import type { Worker } from 'node:worker_threads';
import sharp from 'sharp';
import { PictureThreads } from '../../lib/images/picture-threads.js';
import { preparePicture } from '../../lib/images/prepare-picture.js';
import { preparedPictures } from '../../lib/images/prepared-pictures.js';
import { usualPreprocessing } from '../../lib/images/preprocessing.js';
import { ImageEncoder, type Tensor } from '../../lib/index.js';
import { fails } from '../robustness/failures.js';
import { root } from '../training/support.js';

const COUNT = 50;
const CONFIG = {
  ...{ model_type: 'vit', image_size: 16, patch_size: 8, hidden_size: 16, intermediate_size: 24 },
  ...{ num_hidden_layers: 1, num_attention_heads: 2 },
};
let folder: string;
let paths: string[];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradcache-picture-threads-'));
  paths = Array.from({ length: COUNT }, (_, k) => join(folder, `${k}.png`));
  // Of many sizes, so that some take longer than those behind them.
  for (const [k, path] of paths.entries()) {
    const [width, height] = [20 + ((k * 37) % 200), 20 + ((k * 61) % 90)];
    const noise = { type: 'gaussian', mean: 128, sigma: 20 + k } as const;
    await sharp({ create: { width, height, channels: 3, background: '#888', noise } })
      .png()
      .toFile(path);
  }
});
after(() => rm(folder, { recursive: true }));

const bytes = async (tensor: Tensor) => (await tensor.values()) as Uint8Array;

/** The threads that are begun while something is done. */
async function begunBy(work: () => Promise<void>): Promise<Worker[]> {
  const begun: Worker[] = [];
  const note = (worker: Worker): void => void begun.push(worker);
  process.on('worker', note);
  try {
    await work();
  } finally {
    process.off('worker', note);
  }
  return begun;
}

test('many pictures have the points that each has alone, in their order', async () => {
  using images = ImageEncoder.create(CONFIG);
  const { pixels, kept, bad } = await images.read(paths);
  assert.deepEqual([kept, bad], [[...paths.keys()], []]);
  const all = await bytes(pixels);
  const size = all.length / COUNT;
  for (const [place, path] of paths.entries()) {
    const alone = await bytes((await images.read([path])).pixels);
    assert.deepEqual(all.subarray(place * size, (place + 1) * size), alone, path);
  }
});

test('bad ones among many are told in their order, or refused with the path of the first', async () => {
  using images = ImageEncoder.create(CONFIG);
  const broken = join(folder, 'broken.png');
  await writeFile(broken, 'no picture');
  const given = paths.flatMap((path, k) => (k === 30 ? [path, join(folder, 'missing.png')] : [path]));
  given[7] = broken;
  const { pixels, kept, bad } = await images.read(given, { onBadPicture: 'skip' });
  assert.equal(pixels.shape[0], COUNT - 1);
  assert.deepEqual(
    kept,
    [...given.keys()].filter((place) => place !== 7 && place !== 31),
  );
  assert.deepEqual(
    bad.map(({ path }) => path),
    [broken, join(folder, 'missing.png')],
  );
  await assert.rejects(images.read(given), fails('INPUT', /broken\.png cannot be decoded as a picture/));
});

test('pictures are dealt to as many threads as there may be, which are kept', async () => {
  const { preprocessing } = usualPreprocessing('vit', 16);
  const threads = new PictureThreads(3);
  const points = async (): Promise<Uint8Array[]> => {
    const made: Uint8Array[] = [];
    for await (const picture of preparedPictures(paths, preprocessing, threads)) {
      assert.ok('points' in picture && picture.place === made.length);
      made.push(picture.points);
    }
    return made;
  };
  let first: Uint8Array[] = [];
  assert.equal((await begunBy(async () => void (first = await points()))).length, 3);
  const expected = await Promise.all(paths.map((path) => preparePicture(path, preprocessing)));
  assert.deepEqual(
    first.map((each) => [...each]),
    expected.map((each) => [...each]),
  );
  assert.equal((await begunBy(async () => void (await points()))).length, 0);
});

test('pictures of a thread that ends are told, and others take its place', async () => {
  const { preprocessing } = usualPreprocessing('vit', 16);
  const threads = new PictureThreads(2);
  const codes: string[] = [];
  const reading = async (): Promise<void> => {
    codes.length = 0;
    for await (const picture of preparedPictures(paths, preprocessing, threads))
      codes.push('error' in picture ? `${picture.error.code} ${picture.error.message}` : 'ok');
  };
  const [worker] = await begunBy(reading);
  const reread = reading();
  await worker!.terminate();
  await reread;
  assert.equal(codes.length, COUNT);
  const [told] = codes.filter((code) => code !== 'ok');
  assert.match(told!, /^SETUP The thread that was to prepare .*\.png ended: it was stopped$/);
  await reading();
  assert.deepEqual(new Set(codes), new Set(['ok']));
});

test('a picture of one point by hundreds is prepared, alone and among others', async () => {
  const path = join(folder, 'tall.png');
  await sharp({ create: { width: 1, height: 700, channels: 3, background: '#a33' } })
    .png()
    .toFile(path);
  const preprocessing = { ...usualPreprocessing('clip', 224).preprocessing };
  const alone = await preparePicture(path, preprocessing);
  assert.deepEqual([alone.length, new Set(alone).size], [3 * 224 * 224, 2]);
  const among = [path, ...paths.slice(0, 15)];
  for await (const picture of preparedPictures(among, preprocessing)) {
    assert.ok('points' in picture);
    if (picture.place === 0) assert.deepEqual(Buffer.compare(picture.points, alone), 0);
  }
});

test('what cannot be prepared is told with its path and size', async () => {
  const preprocessing = {
    ...usualPreprocessing('clip', 224).preprocessing,
    resize: { width: 2 ** 16, height: 2 ** 16 },
  };
  await assert.rejects(
    preparePicture(paths[0]!, preprocessing),
    fails('INPUT', /0\.png, a picture of 20 by 20 points, cannot be prepared: /),
  );
  for await (const picture of preparedPictures(paths.slice(0, 16), preprocessing, new PictureThreads(1)))
    assert.ok('error' in picture && /png, a picture of .* cannot be prepared/.test(picture.error.message));
});

test('lists are read at the same time', async () => {
  using images = ImageEncoder.create(CONFIG);
  const turned = [...paths].reverse();
  const [one, other] = await Promise.all([images.read(paths), images.read(turned)]);
  const [first, second] = [await bytes(one.pixels), await bytes(other.pixels)];
  const size = first.length / COUNT;
  assert.deepEqual(first.subarray(0, size), second.subarray((COUNT - 1) * size));
  assert.deepEqual(first.subarray((COUNT - 1) * size), second.subarray(0, size));
});

test("where Node's permission model lets a process have no threads, pictures are prepared without", async () => {
  const program = `
    const { ImageEncoder } = await import(${JSON.stringify(pathToFileURL(join(root, 'dist/lib/index.js')).href)});
    const { pixels } = await ImageEncoder.create(${JSON.stringify(CONFIG)}).read(${JSON.stringify(paths)});
    console.log(pixels.shape[0]);
  `;
  const flag = process.allowedNodeEnvironmentFlags.has('--permission')
    ? '--permission'
    : '--experimental-permission';
  const path = join(folder, 'permitted.mjs');
  await writeFile(path, program);
  const args = [flag, '--allow-fs-read=*', '--allow-fs-write=*', '--allow-addons', path];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 });
  assert.equal(stdout, `${COUNT}\n`);
});

test('threads do not keep a process that has nothing else to do, nor a worker of the program', async () => {
  const program = `
    import { ImageEncoder } from ${JSON.stringify(pathToFileURL(join(root, 'dist/lib/index.js')).href)};
    import { Worker, isMainThread } from 'node:worker_threads';
    const images = ImageEncoder.create(${JSON.stringify(CONFIG)});
    const { pixels } = await images.read(${JSON.stringify(paths)});
    console.log(isMainThread ? 'main' : 'worker', pixels.shape[0]);
    if (isMainThread) new Worker(new URL(import.meta.url));
  `;
  const path = join(folder, 'program.mjs');
  await writeFile(path, program);
  const { stdout } = await promisify(execFile)(process.execPath, [path], { timeout: 60_000 });
  assert.equal(stdout, `main ${COUNT}\nworker ${COUNT}\n`);
});
