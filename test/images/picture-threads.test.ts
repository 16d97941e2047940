/** Pictures that are decoded and prepared on threads, where they are many. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
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

test('lists are read at the same time', async () => {
  using images = ImageEncoder.create(CONFIG);
  const turned = [...paths].reverse();
  const [one, other] = await Promise.all([images.read(paths), images.read(turned)]);
  const [first, second] = [await bytes(one.pixels), await bytes(other.pixels)];
  const size = first.length / COUNT;
  assert.deepEqual(first.subarray(0, size), second.subarray((COUNT - 1) * size));
  assert.deepEqual(first.subarray((COUNT - 1) * size), second.subarray(0, size));
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
