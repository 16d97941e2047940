import { SettingError } from '../../options/fields.js';
import { show } from '../../options/option-values.js';
import { escaped } from '../../options/patterns.js';
import type { Parameter } from '../../tensor/tensor.js';

/**
 * Freezes the parameters of modules, by the beginnings of their names.
 *
 * @param frozen the entries of the setting
 * @param places those of them that are meant
 * @throws SettingError for an entry that names no parameter
 */
export function freezeNamed(
  parameters: readonly Parameter[],
  frozen: readonly string[],
  places: readonly number[] = [...frozen.keys()],
): void {
  for (const place of places) {
    const entry = frozen[place]!;
    const beginning = new RegExp(`^${entry.split('*').map(escaped).join('.*')}(\\.|$)`);
    const named = parameters.filter(({ name }) => beginning.test(name));
    if (named.length === 0)
      throw new SettingError(
        `config.frozen[${place}]`,
        `is ${show(entry)}, which begins the name of no parameter; they begin with ` +
          `${[...new Set(parameters.map(({ name }) => name.split('.')[0]))].join(', ')}.`,
      );
    for (const { tensor } of named) tensor.requiresGrad = false;
  }
}
