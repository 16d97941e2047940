import { readFileSync, writeFileSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readSafetensors, Tensor, tidy, writeSafetensors } from '../../../lib/index.js';
import { testFolder } from '../../data/temporary-folder.js';
import { smallTensors } from '../../encoders/small-model.js';
import { mutateBytes, mutateJson, type Json } from '../mutations.js';
import type { Random } from '../random-arguments.js';
import type { Target } from '../target.js';

const LARGEST_BASE = 100_000;

/** Changes what the header says, and lets its length follow. */
function withOtherHeader(file: Buffer, random: Random): Buffer {
  const length = Number(file.readBigUInt64LE());
  const header = JSON.parse(file.toString('utf8', 8, 8 + length)) as Json;
  for (let changes = 1 + random.below(3); changes > 0; changes--) mutateJson(header, random);
  const text = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([prefix, text, file.subarray(8 + length)]);
}

/** Files of tensors. What is read must make tensors: its bytes fit its shape. */
export const safetensors: Target = {
  count: 1000,
  prepare: async () => {
    await writeSafetensors('good.safetensors', smallTensors, { format: 'pt' });
    const good = readFileSync('good.safetensors');
    const hostile: Buffer[] = [];
    for (const name of await readdir(join(testFolder, 'hostile'))) {
      const path = join(testFolder, 'hostile', name);
      if (name.endsWith('.safetensors') && (await stat(path)).size < LARGEST_BASE)
        hostile.push(readFileSync(path));
    }
    return async (random) => {
      const file = random.pick([
        () => withOtherHeader(good, random),
        () => mutateBytes(good, random),
        () => mutateBytes(random.pick(hostile), random),
      ])();
      writeFileSync('file.safetensors', file);
      for (const { bytes, shape, dtype } of (await readSafetensors('file.safetensors')).values())
        tidy(() => Tensor.fromBytes(bytes, { shape, dtype }).size);
    };
  },
};
