import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onFiles } from '../files/file-error.js';
import { checkPush, pushFolder, type Pushed, type PushOptions } from '../model-folder/push-folder.js';

/**
 * Uploads a model that is in memory, by way of a folder that is removed again.
 *
 * @param save writes the model into a folder
 * @throws GradCacheError as `push`
 */
export async function pushModel(
  save: (folder: string) => Promise<void>,
  name: string,
  options: PushOptions,
): Promise<Pushed> {
  checkPush(name, options);
  const folder = await onFiles('INPUT', tmpdir(), 'written', () =>
    mkdtemp(join(tmpdir(), 'gradcache-push-')),
  );
  try {
    await save(join(folder, 'model'));
    return await pushFolder(join(folder, 'model'), name, options);
  } finally {
    await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
}
