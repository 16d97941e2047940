import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../../lib/files/replace-file.js';
import { replaceFolder } from '../../lib/files/replace-folder.js';

/** Entries of what {@link save} writes. */
export const MODEL = ['config.json', 'weights', 'layer'];

/** Replaces `folder` by a small model: two files, and a folder with a file. */
export function save(folder: string, content: string, fails?: Error): Promise<void> {
  return replaceFolder(folder, {
    write: async (fresh) => {
      await replaceFile(join(fresh, 'config.json'), (file) => file.writeFile(content));
      await replaceFile(join(fresh, 'weights'), (file) => file.writeFile(content));
      await mkdir(join(fresh, 'layer'));
      await replaceFile(join(fresh, 'layer', 'config'), (file) => file.writeFile(content));
      if (fails !== undefined) throw fails;
    },
    recognise: (names) => names.includes('config.json'),
    belongs: (name) => MODEL.includes(name),
  });
}
