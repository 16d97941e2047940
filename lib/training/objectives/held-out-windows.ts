/*
 * Held-out texts that are read in windows, of the models that can.
 */
import { CrossEncoder } from '../../encoders/cross-encoder.js';
import type { Windows } from '../../encoders/long-texts.js';
import { TextEncoder } from '../../encoders/text-encoder.js';
import type { RoutedEncoder } from '../../encoders/routed-encoder.js';
import { overlapProblemFor } from '../../evaluation/windowed.js';
import { refuse, SettingError } from '../../options/fields.js';
import { placeOf, type NamedSet } from '../held-out-sets.js';

/**
 * How texts of a set are read that are too long; undefined: they are cut.
 *
 * @throws SettingError for a model that has no windows, and for an overlap that its windows have no room for
 */
export function windowsOf(
  { name, set: { windows, windowOverlap: overlap = 0 } }: NamedSet,
  model: TextEncoder | RoutedEncoder | CrossEncoder,
): Windows | undefined {
  if (windows !== true) return undefined;
  const path = `config.${placeOf(name)}`;
  const paired = model instanceof CrossEncoder;
  if (!paired && !model.sparse && !model.perToken)
    throw refuse(
      `${path}.windows`,
      windows,
      'false, or nothing, for a model with one dense representation of a text,',
    );
  const wrong =
    paired || model instanceof TextEncoder ? overlapProblemFor(model, { overlap }, paired) : undefined;
  if (wrong !== undefined) throw new SettingError(`${path}.windowOverlap`, wrong);
  return { overlap };
}
