import { dirname, resolve } from 'node:path';
import { isModelFolder } from '../model-folder/is-model-folder.js';
import { SettingError } from '../options/fields.js';
import { listCheckpoints } from './checkpoint.js';

/**
 * Throws where the output of a new run is a model folder or lies in one, such as the folder that it starts from: the run's
 * files would be among those of a model. A folder that holds checkpoints is a run's already.
 *
 * @throws GradCacheError `INPUT`
 */
export async function requireOutsideModels(output: string): Promise<void> {
  if ((await listCheckpoints(output)).length > 0) return;
  const whole = resolve(output);
  for (let folder = whole; ; folder = dirname(folder)) {
    if (await isModelFolder(folder)) {
      const where = folder === whole ? 'a model folder' : `in the model folder ${folder}`;
      throw new SettingError(
        'config.output',
        `is ${output}, ${where}; a run needs a folder outside of it, for instance ${folder}-run.`,
      );
    }
    if (dirname(folder) === folder) return;
  }
}
