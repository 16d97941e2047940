import { guideOf, kindOf, type FilledLossConfig } from '../losses/loss-kinds.js';
import { isJsonObject } from '../files/strict-json.js';
import type { FilledDataSet } from './data-sets.js';
import { refuse, SettingError, type Fields } from '../options/fields.js';
import { TOKEN_SIMILARITIES } from '../options/similarity.js';
import { TOWER_PRECISIONS } from '../images/tower-weights.js';
import { placeOf, setsOf, type HeldOutSettings } from './held-out-sets.js';

/** Settings of models of texts. */
const OF_TEXTS = [
  'pooling',
  'lateInteraction',
  'newHead',
  'adaptiveLayer',
  'matryoshka',
  'memory',
  'curriculum',
  'lora',
  'lists',
  'maxLength',
  'prompts',
];

/** Those of them that the text encoder beside a model of pictures takes. */
const OF_A_PAIR = ['pooling', 'maxLength'];

/** Settings of a run that matter to a model with a tower of pictures. */
interface Asked {
  readonly loss: FilledLossConfig;
  readonly precision: string;
  readonly embeddingGradients: 'dense' | 'rows';
  readonly masterWeights: string;
  readonly chunk: unknown;
  readonly datasets: readonly Pick<FilledDataSet, 'prompts'>[] | undefined;
  readonly evaluation: HeldOutSettings | undefined;
}

/**
 * Refuses settings that would do nothing with a model of pictures and captions.
 *
 * @param columns those that the configuration names
 * @throws GradCacheError `INPUT`
 */
export function requireSuitedToPictures(
  fields: Fields,
  { loss, precision, embeddingGradients, masterWeights, chunk, datasets = [], evaluation }: Asked,
  columns: readonly string[] | undefined,
): void {
  const images = fields.raw('images');
  if (columns?.includes(images as string) === false)
    throw refuse(fields.at('images'), images, `one of the columns ${columns.join(', ')}`);
  const isPair = isGiven(fields.raw('imageModel'));
  const strange = OF_TEXTS.find((name) => !(isPair && OF_A_PAIR.includes(name)) && isGiven(fields.raw(name)));
  if (strange !== undefined) throw ofTexts(fields.at(strange));
  const prompted = datasets.findIndex(({ prompts }) => isGiven(prompts));
  if (prompted >= 0) throw ofTexts(fields.at(`datasets[${prompted}].prompts`));
  if (embeddingGradients === 'rows') throw ofTexts(fields.at('embeddingGradients'));
  const model = fields.raw('model');
  const ofModel = (isPair ? [] : ['pooling', 'normalize']).find(
    (name) => isJsonObject(model) && isGiven(model[name]),
  );
  if (ofModel !== undefined) throw ofTexts(fields.at(`model.${ofModel}`));
  const { pairs, perToken, sparse } = kindOf(loss);
  if (pairs !== undefined || perToken === true || sparse === true || guideOf(loss) !== null)
    throw refuse(
      fields.at('loss.kind'),
      loss.kind,
      'a loss of one representation for each picture and caption, such as "infonce" or "siglip",',
    );
  if (!TOWER_PRECISIONS.some((known) => known === precision))
    throw refuse(fields.at('precision'), precision, '"float32", "bfloat16" or "float64", for pictures,');
  if (masterWeights !== 'device') throw ofTexts(fields.at('masterWeights'));
  if (typeof chunk === 'object' && chunk !== null && 'tokens' in chunk)
    throw new SettingError(
      fields.at('chunk'),
      'counts tokens, which pictures have none of: give chunk.sequences (--chunk-sequences).',
    );
  for (const { name, set } of setsOf(evaluation)) {
    const at = (setting: string): string => fields.at(`${placeOf(name)}.${setting}`);
    if (set.task !== undefined && set.task !== 'retrieval')
      throw refuse(at('task'), set.task, '"retrieval", for pictures,');
    if (set.dimensions !== undefined) throw ofTexts(at('dimensions'));
    if (set.judgements !== undefined) throw ofTexts(at('judgements'));
    if (set.windows !== undefined) throw ofTexts(at('windows'));
    if (set.documents !== undefined) throw ofTexts(at('documents'));
    if (TOKEN_SIMILARITIES.some((name) => name === set.similarity)) throw ofTexts(at('similarity'));
  }
}

function ofTexts(path: string): SettingError {
  return new SettingError(path, 'is for models of texts, and the run trains on pictures: leave it out.');
}

/** A stored configuration has an object without prompts. */
function isGiven(value: unknown): boolean {
  return (
    value !== undefined && !(typeof value === 'object' && value !== null && Object.keys(value).length === 0)
  );
}
