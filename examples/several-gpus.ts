/**
 * A step over several GPUs, as a program of one's own. Each process encodes its rows of every batch, and the gradient is that of
 * the whole batch. Start it with torchrun (or let it train alone, without):
 *
 *   torchrun --nproc-per-node 4 --no-python node dist/examples/several-gpus.js MODEL PAIRS.jsonl OUTPUT
 */
import { AdamW, batches, GradCache, infoNCE, Ranks, readPairs, TextEncoder } from 'gradcache';

const [folder = 'all-MiniLM-L6-v2', file = 'pairs.jsonl', output = 'trained', size = '1024', kind = 'cuda'] =
  process.argv.slice(2);

// Null where no launcher gave this process a place: it then trains alone.
const ranks = await Ranks.join({ device: kind });
try {
  const encoder = await TextEncoder.load(folder, { device: ranks?.device ?? kind });
  await ranks?.broadcast(encoder.parameters());
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), ranks });
  const optimizer = new AdamW(gradcache.parameters(), { lr: 2e-5 });

  // Every rank reads the same rows and forms the same batches; each is given its own rows of them.
  const rows = readPairs(file);
  for await (const { columns } of batches(rows, { size: Number(size), dropLast: true, seed: 1, ranks })) {
    const { loss, pairs } = await gradcache.step([
      await encoder.tokenize(columns.anchor ?? []),
      await encoder.tokenize(columns.positive ?? []),
    ]);
    await optimizer.step();
    if (ranks === null || ranks.rank === 0) console.log(`loss ${loss.toFixed(4)} of ${pairs} pairs`);
  }
  // One rank writes, and the others wait as long as it takes.
  const save = async (): Promise<void> => {
    if (ranks === null || ranks.rank === 0) await encoder.save(output);
  };
  await (ranks === null ? save() : ranks.agree('saving the model', save));
} catch (error) {
  ranks?.fail(error); // the others end with this message, not with that of a lost connection
  throw error;
} finally {
  await ranks?.close();
}
