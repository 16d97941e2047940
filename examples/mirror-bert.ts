/**
 * Mirror-BERT (Liu et al. 2021): sentence representations from texts alone, without pairs. Both views of an example are the
 * same text. They differ by dropout, by dropped attention heads, and by a span that is masked in one of them.
 *
 *     node dist/examples/mirror-bert.js MODEL_FOLDER TEXTS.txt STS.csv OUTPUT_FOLDER [TEXTS_IN_A_BATCH]
 */
import { readFile } from 'node:fs/promises';
import { AdamW, batches, evaluateSts, GradCache, ntXent, readSts, spanMasking, TextEncoder } from 'gradcache';

async function main([folder, file, sts, output, size = '200']: readonly string[]): Promise<void> {
  if (folder === undefined || file === undefined || sts === undefined || output === undefined)
    throw new Error('usage: mirror-bert.js MODEL_FOLDER TEXTS.txt STS.csv OUTPUT_FOLDER [TEXTS_IN_A_BATCH]');
  const model = await TextEncoder.load(folder, { dropout: 0.1, drophead: 0.05 });
  const mask = ['[MASK]', '<mask>'].find((token) => model.tokenizer.tokenToId(token) !== null);
  const masked = mask === undefined ? (text: string) => text : spanMasking({ mask, seed: 1 });
  if (mask === undefined)
    console.log(
      'no span is masked: the tokenizer has neither [MASK] nor <mask>; views differ by what is dropped alone',
    );

  const held = await readSts(sts);
  const report = async (when: string) => {
    const { spearman } = await evaluateSts(model, held);
    console.log(`${when}: Spearman ${spearman.toFixed(4)}`);
  };
  await report('before');
  const gradcache = new GradCache({ encoders: [model, model], loss: ntXent({ temperature: 0.04 }), seed: 1 });
  const optimizer = new AdamW(gradcache.parameters(), { lr: 2e-5, weightDecay: 0.01 });
  const texts = (await readFile(file, 'utf8')).split('\n').filter((text) => text.trim() !== '');
  const rows = texts.map((text) => ({ text }));
  // The same text twice in a batch would be its own negative.
  let step = 0;
  for await (const { columns } of batches(rows, {
    size: Number(size),
    seed: 1,
    uniqueTexts: true,
    dropLast: true,
  })) {
    const views = [model.tokenize(columns.text), model.tokenize(columns.text.map(masked))];
    const { loss } = await gradcache.step(views);
    await optimizer.step();
    console.log(`step ${++step}: loss ${loss.toFixed(4)}`);
  }
  await report('after');
  await model.save(output);
}

void main(process.argv.slice(2));
