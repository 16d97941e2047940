import { SettingError, type Fields } from '../options/fields.js';

/** Settings of how weights, gradients and moments are kept, and those that they depend on. */
interface Asked {
  readonly precision: string;
  readonly embeddingGradients: 'dense' | 'rows';
  readonly masterWeights: 'device' | 'host' | 'none';
  readonly memory?: { readonly momentum?: number | undefined } | undefined;
}

/** @throws SettingError for settings that do not go together */
export function requireWeightSettings(
  fields: Fields,
  { precision, embeddingGradients, masterWeights, memory }: Asked,
): void {
  const refuse = (name: string, why: string): SettingError => new SettingError(fields.at(name), why);
  if (masterWeights === 'device') return;
  const given = `is '${masterWeights}'`;
  if (precision !== 'bfloat16')
    throw refuse('masterWeights', `${given}, for a run with precision 'bfloat16'; it has '${precision}'.`);
  if (masterWeights === 'host' && embeddingGradients === 'rows')
    throw refuse(
      'masterWeights',
      `${given}, and embeddingGradients 'rows' keeps moments on the device: take 'none' or 'device'.`,
    );
  if (memory?.momentum !== undefined)
    throw refuse(
      'masterWeights',
      `${given}, and memory.momentum averages weights, which bfloat16 is too coarse for: take 'device'.`,
    );
}
