import { SettingError } from '../../options/fields.js';
import { show } from '../../options/option-values.js';
import type { Prompts } from '../data-sets.js';
import type { FilledTrainConfig } from '../read-config.js';

/** A model with prompts by name. */
interface HasPrompts {
  readonly prompts: Readonly<Record<string, string>>;
  setPrompt(name: string, text: string): void;
}

/**
 * The name of the prompt that a run puts before the texts of a column. Empty, which is no prompt, for a column that the
 * configuration gives none: the model's default prompt is for encoding.
 *
 * @param set the data set that the texts are of, where there are several
 */
export function promptOf(
  { prompts, columns, datasets }: Pick<FilledTrainConfig, 'prompts'> & Partial<FilledTrainConfig>,
  column: string,
  set?: number,
): string {
  const own = set === undefined ? undefined : datasets?.[set];
  const ownColumn = own?.columns?.[columns?.indexOf(column) ?? -1] ?? column;
  const prompt =
    own !== undefined && Object.hasOwn(own.prompts, ownColumn) ? own.prompts[ownColumn] : undefined;
  if (prompt === undefined && !Object.hasOwn(prompts, column)) return '';
  const chosen = prompt ?? prompts[column]!;
  return typeof chosen === 'string' ? chosen : chosen.name;
}

/**
 * Gives the model the prompts whose words the configuration holds. They are saved with it.
 *
 * @throws GradCacheError `INPUT` where one would take the name of a prompt with other words, and for a name that is none
 * of the model's
 */
export function savePrompts(
  { prompts, datasets = [] }: Pick<FilledTrainConfig, 'prompts' | 'datasets'>,
  model: HasPrompts,
): void {
  save(prompts, 'config.prompts', model);
  for (const [place, set] of datasets.entries())
    save(set.prompts, `config.datasets[${place}].prompts`, model);
}

/** @param path of the prompts in the configuration */
function save(prompts: Prompts, path: string, model: HasPrompts): void {
  for (const [column, prompt] of Object.entries(prompts)) {
    if (typeof prompt === 'string') continue;
    const { name, prefix } = prompt;
    const before = Object.hasOwn(model.prompts, name) ? model.prompts[name] : undefined;
    if (before !== undefined && before !== prefix) {
      throw new SettingError(
        `${path}.${column}`,
        `would be saved as ${show(name)}, but that name stands for ${show(before)} already, not for ${show(prefix)}. ` +
          `Give it a name of its own (prompts.${column}.name, --prompt-name ${column}=NAME).`,
      );
    }
    model.setPrompt(name, prefix);
  }
  for (const [column, name] of Object.entries(prompts)) {
    if (typeof name !== 'string' || Object.hasOwn(model.prompts, name)) continue;
    const known = Object.keys(model.prompts).map(show).join(', ') || 'none';
    throw new SettingError(
      `${path}.${column}`,
      `is ${show(name)}; the name of one of the model's prompts is needed (there is ${known}), or the words themselves ` +
        '({ prefix: … }, --prompt-text).',
    );
  }
}
