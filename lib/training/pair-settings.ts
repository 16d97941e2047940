import { kindOf, type FilledLossConfig } from '../losses/loss-kinds.js';
import { SettingError, type Fields } from '../options/fields.js';

/** Settings of a run that matter to the two kinds of model. */
interface Asked {
  readonly loss: FilledLossConfig;
  readonly newHead: number | undefined;
  readonly matryoshka: object | undefined;
  readonly adaptiveLayer: object | undefined;
  readonly curriculum: object | undefined;
  readonly lateInteraction: object | undefined;
  readonly lossFrom: string | undefined;
  readonly lora: object | undefined;
  readonly prompts: object;
}

/**
 * Refuses settings that would do nothing with the model that a loss trains.
 *
 * @param columns those of the configuration, or of a run that names none
 * @throws GradCacheError `INPUT`
 */
export function requireSuited(fields: Fields, asked: Asked, columns: readonly string[]): void {
  const { loss } = asked;
  const refused = (name: string, why: string): SettingError =>
    new SettingError(fields.at(name), `${why}: the loss ${loss.kind} trains a cross-encoder.`);
  if (asked.lora !== undefined && typeof fields.raw('model') === 'object')
    throw new SettingError(
      fields.at('lora'),
      'adapts a model that is trained: give the folder of one as model.',
    );
  if (kindOf(loss).pairs === undefined) {
    if (asked.newHead === undefined) return;
    throw new SettingError(
      fields.at('newHead'),
      `is for the losses of cross-encoders; the loss ${loss.kind} trains a text encoder.`,
    );
  }
  if (asked.matryoshka !== undefined) throw refused('matryoshka', 'is for representations');
  if (asked.adaptiveLayer !== undefined) throw refused('adaptiveLayer', 'is for representations');
  if (asked.lateInteraction !== undefined) throw refused('lateInteraction', 'is for representations');
  if (asked.lossFrom !== undefined)
    throw refused('lossFrom', 'is for losses that train weights of their own');
  if (asked.curriculum !== undefined) throw refused('curriculum', 'is for text encoders');
  if (asked.lora !== undefined) throw refused('lora', 'is for text encoders');
  const other = Object.keys(asked.prompts).find((column) => column !== columns[0]);
  if (other !== undefined)
    throw refused(`prompts.${other}`, `is for another column than ${columns[0]}, the first text of a pair`);
  if (fields.raw('pooling') !== undefined) throw refused('pooling', 'is for text encoders');
  const model = fields.raw('model');
  if (typeof model !== 'object' || model === null) return;
  const pooling = ['pooling', 'normalize'].find((name) =>
    Object.entries(model).some(([key, value]) => key === name && value !== undefined),
  );
  if (pooling !== undefined) throw refused(`model.${pooling}`, 'is for text encoders');
}
