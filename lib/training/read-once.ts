import { readOnceAmong } from '../data/source.js';
import { refuse } from '../options/fields.js';
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
  const held = evaluation && readOnceAmong([evaluation.data]);
  if (held === undefined) return;
  if (data.includes(held))
    throw refuse('config.evaluation.data', held, 'another file than data, which can be read only once,');
  if (evaluation?.loss === true && evaluation.task !== undefined)
    throw refuse(
      'config.evaluation.data',
      held,
      'a regular file, as it is read twice, for the loss and for the task,',
    );
}
