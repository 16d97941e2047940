import { readOnceAmong } from '../data/source.js';
import { refuse } from '../options/fields.js';
import { FILES_OF_SET, placeOf, setsOf } from './held-out-sets.js';
import type { FilledTrainConfig } from './read-config.js';

/**
 * Throws where a run would read standard input or a pipe twice: what these have given is gone. Held-out data is read a second time
 * for its loss.
 *
 * @throws SettingError
 */
export function requireReadOnce({ data, evaluation }: Pick<FilledTrainConfig, 'data' | 'evaluation'>): void {
  const twice = readOnceAmong(data.filter((path, place) => data.indexOf(path) < place));
  if (twice !== undefined)
    throw refuse('config.data', data, `a list that has ${twice} once, as it can be read once,`);
  const read = new Set(data);
  for (const { name, set } of setsOf(evaluation))
    for (const file of FILES_OF_SET) {
      const held = readOnceAmong(set[file] === undefined ? [] : [set[file]]);
      if (held === undefined) continue;
      const setting = `config.${placeOf(name)}.${file}`;
      if (data.includes(held))
        throw refuse(setting, held, 'another file than data, which can be read only once,');
      if (read.has(held))
        throw refuse(setting, held, 'a regular file, as other held-out data is read from it,');
      read.add(held);
      if (set.loss === true && set.task !== undefined)
        throw refuse(setting, held, 'a regular file, as it is read twice, for the loss and for the task,');
    }
}
