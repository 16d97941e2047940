import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readPairs, readSts } from '../../../lib/index.js';
import { testFolder } from '../../data/temporary-folder.js';
import { mutateBytes } from '../mutations.js';
import type { Random } from '../random-arguments.js';
import type { Target } from '../target.js';

/** Bytes at the end that state where everything is: half of the changes are made there. */
const FOOTER = 600;

function mutate(file: Buffer, random: Random): Buffer {
  const end = file.length - FOOTER;
  if (end < 0) return mutateBytes(file, random);
  if (random.next() < 0.5)
    return Buffer.concat([mutateBytes(file.subarray(0, end), random), file.subarray(end)]);
  return Buffer.concat([file.subarray(0, end), mutateBytes(file.subarray(end), random)]);
}

/** Parquet files of every encoding and compression. */
export const parquet: Target = {
  count: 30, // each file is decoded in a process of its own
  prepare: () => {
    const folder = join(testFolder, 'data', 'fixtures');
    const names = readdirSync(folder).filter((name) => name.endsWith('.parquet'));
    const bases = names.map((name): [string, Buffer] => [name, readFileSync(join(folder, name))]);
    return async (random, tell) => {
      const [name, base] = random.pick(bases);
      writeFileSync('file.parquet', mutate(base, random));
      const columns = random.pick([undefined, undefined, undefined, ['text', 'required']]);
      const numbers = random.next() < 0.3;
      tell(`${numbers ? 'readSts' : 'readPairs'} of ${name}`);
      if (numbers) return readSts('file.parquet', { columns: ['text', 'required', 'real'] });
      for await (const row of readPairs('file.parquet', {
        columns,
        onBadLine: random.pick(['throw', 'skip']),
      }))
        if (!Object.values(row).every((text) => typeof text === 'string'))
          throw new Error(`a row holds ${JSON.stringify(row)}`);
      return null;
    };
  },
};
