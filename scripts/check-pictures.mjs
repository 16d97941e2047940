// Trains a small ViT against the names of the pictures of npm's emoji-datasource-twitter (3,786 of them), beside the real
// all-MiniLM-L6-v2 of the oracle, and prints recall@1 of a held-out tenth before and after: given a name, the picture.
// It fails where that has not become ten times what it was. It takes some minutes, and is no part of `npm test`.
//   node scripts/check-pictures.mjs [epochs]
import { join } from 'node:path';
import { Failure, main, root, say } from './tools.mjs';

const SIDE = 64;

await main(async () => {
  const epochs = Number(process.argv[2] ?? 20);
  const { AdamW, GradCache, ImageEncoder, infoNCE, Tensor, TextEncoder, call, noGrad } = await import(
    join(root, 'dist', 'lib', 'index.js')
  );
  const { miniLM } = await import(join(root, 'dist', 'test', 'oracle', 'python.js'));
  const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
  const { emoji } = await import(join(root, 'dist', 'bench', 'support', 'emoji.js'));
  const pairs = emoji();
  const held = pairs.filter((_, place) => place % 10 === 9);
  const own = pairs.filter((_, place) => place % 10 !== 9);
  say(`${own.length} pairs to train with, ${held.length} held out`);

  const texts = await TextEncoder.load(miniLM, { device });
  const sizes = { hidden_size: 192, num_hidden_layers: 4, num_attention_heads: 6, intermediate_size: 512 };
  const images = ImageEncoder.create(
    { model_type: 'vit', ...sizes, hidden_size: texts.dimension, image_size: SIDE, patch_size: 8 },
    { device, seed: 1 },
  );
  const recall = async () => {
    const vectors = [
      await images.encode(held.map(({ image }) => image)),
      await texts.encode(held.map(({ caption }) => caption)),
    ];
    return noGrad(() => {
      const [pictures, names] = vectors.map((each) => each.normalize());
      const found = call('aten::argmax', names.matmul(pictures.t()), 1);
      return [...found.valuesSync()].filter((picture, name) => Number(picture) === name).length / held.length;
    });
  };
  const before = await recall();
  say(`recall@1 before: ${before.toFixed(4)}`);

  const loss = infoNCE({ temperature: { initial: 0.07, learned: true }, symmetric: true });
  const gradcache = new GradCache({ encoders: [images, texts], loss, chunk: [{ sequences: 64 }, 'auto'] });
  const optimizer = new AdamW(
    [
      { parameters: images.parameters() },
      { parameters: texts.parameters(), lrScale: 0.05 },
      { parameters: gradcache.parameters().filter(({ name }) => name.startsWith('loss.')) },
    ],
    { lr: 1e-3, maxGradNorm: 1 },
  );
  const { pixels } = await images.read(own.map(({ image }) => image));
  const size = 852; // four steps an epoch
  let random = 12345;
  const next = (below) => ((random = (random * 1103515245 + 12345) % 2 ** 31) >>> 8) % below;
  for (let epoch = 1; epoch <= epochs; epoch++) {
    const order = own.map((_, place) => place);
    for (let k = order.length - 1; k > 0; k--) {
      const other = next(k + 1);
      [order[k], order[other]] = [order[other], order[k]];
    }
    let last = 0;
    for (let begin = 0; begin + size <= order.length; begin += size) {
      const rows = order.slice(begin, begin + size);
      const batch = noGrad(() =>
        call('aten::index_select', pixels, 0, Tensor.from(BigInt64Array.from(rows, BigInt), { device })),
      );
      ({ loss: last } = await gradcache.step([batch, texts.tokenize(rows.map((row) => own[row].caption))]));
      batch.dispose();
      await optimizer.step();
    }
    say(
      `epoch ${epoch}: loss ${last.toFixed(3)}${epoch % 5 === 0 ? `, recall@1 ${(await recall()).toFixed(4)}` : ''}`,
    );
  }
  const after = await recall();
  say(`recall@1 after: ${after.toFixed(4)}`);
  if (after < 10 * Math.max(before, 1 / held.length))
    throw new Failure('recall@1 has not become ten times what it was');
});
