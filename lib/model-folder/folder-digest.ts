import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { onFiles } from '../files/file-error.js';

/** A digest of all files of a model folder but its card, which says nothing of what the model computes. */
export async function folderDigest(folder: string): Promise<string> {
  const hash = createHash('sha256');
  return onFiles('CHECKPOINT', folder, 'read', async () => {
    const names = await readdir(folder, { recursive: true });
    for (const name of names.filter((each) => !each.endsWith('.md')).sort()) {
      const path = join(folder, name);
      const found = await stat(path);
      if (!found.isFile()) continue;
      hash.update(`\n${name.length}:${name}:${found.size}\n`);
      for await (const bytes of createReadStream(path)) hash.update(bytes as Buffer);
    }
    return hash.digest('hex');
  });
}
