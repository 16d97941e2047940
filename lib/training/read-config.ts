import { readAdaptiveLayer } from './adaptive-layer.js';
import { idsPath, readLossBeside } from './id-settings.js';
import { readMatryoshka } from './matryoshka.js';
import { readCurriculum } from './curriculum.js';
import { MIXINGS, readDataSets } from './data-sets.js';
import { readLora } from './lora.js';
import type { PromptWords, TrainConfig } from './config.js';
import { requireSuited } from './pair-settings.js';
import { requireSuitedToPictures } from './picture-settings.js';
import {
  kindOf,
  masksDuplicates,
  requireColumns,
  requireLists,
  requireMemory,
  requireWeights,
  type FilledLossConfig,
} from '../losses/loss-kinds.js';
import { readOptimizer } from '../optim/optimizer-kinds.js';
import { Fields, refuse, SettingError } from '../options/fields.js';
import { show } from '../options/option-values.js';
import { readCheckpoints } from './checkpoint-settings.js';
import { readEvaluation, readLayout } from './read-evaluation.js';
import { readLateInteraction, readModel, readPooling } from './read-model.js';
import { readDevice, readLength, readOutput, readResume, readSchedule, section } from './read-run.js';
import { requireWeightSettings } from './weight-settings.js';

/** The columns of a run that names none, before hard negatives that its data has. @param images the column of pictures */
export function usualColumns(loss: FilledLossConfig, images?: string): readonly string[] {
  if (images !== undefined) return [images, 'caption'];
  return kindOf(loss).columns.usual ?? ['anchor', 'positive'];
}

/**
 * Checks a configuration and fills in its defaults.
 *
 * @param value the configuration, for instance from `JSON.parse`
 * @param path what to call it in messages, for instance the name of its file
 * @throws GradCacheError `INPUT` naming the setting, its value and what would be accepted
 */
export function readTrainConfig(value: unknown, path = 'config') {
  const fields = new Fields(value, path);
  const named = fields.strings('columns');
  const images = fields.string('images');
  const imageModel = fields.string('imageModel');
  const mixing = fields.oneOf('mixing', MIXINGS);
  const datasets = readDataSets(fields, mixing, (prompts, own) => readPrompts(prompts, own, prompts.names()));
  const ids = fields.strings('ids');
  const pathOfIds = idsPath({ ids, datasets });
  const loss = readLossBeside(fields, pathOfIds);
  const columns = named ?? usualColumns(loss, images);
  if (datasets === undefined && mixing !== undefined)
    throw new SettingError(
      fields.at('mixing'),
      'is for several data sets: name them in datasets, or leave it out.',
    );
  if (datasets !== undefined && fields.raw('data') !== undefined)
    throw new SettingError(fields.at('datasets'), 'takes the place of data: leave out one of them.');
  if (named !== undefined) requireColumns(fields.at('columns'), named, loss);
  // Beside pictures they are refused below, whatever their columns.
  const prompts =
    fields.raw('prompts') !== undefined && images === undefined
      ? fields.section('prompts', (own) => readPrompts(own, named, columns))
      : undefined;
  const config = {
    ...readPooling(fields, readModel(fields), {
      loss,
      towers: images !== undefined && imageModel === undefined,
    }),
    /** Undefined for a model of texts, and for one that has both towers. */
    imageModel,
    lateInteraction: fields.section('lateInteraction', readLateInteraction),
    newHead: fields.count('newHead'),
    datasets,
    mixing: datasets && (mixing ?? 'proportional'),
    /** Those of all data sets, where there are several. */
    data:
      datasets?.flatMap(({ data }) => data) ??
      fields.strings('data') ??
      fields.missing('data', 'give the path of a file of pairs, or a list of them'),
    /** Undefined where none are named: then the data tells which there are. */
    columns: named,
    /** Undefined for a model of texts, and where the model is still to tell that it takes pictures. */
    images,
    /** Undefined where none is named, though the loss needs one: then the data tells which it is. */
    label: readLabel(fields, named, loss),
    weights: readWeights(fields, named, loss),
    ids,
    lists: readLists(fields, named, loss),
    ...readLayout(fields),
    onBadLine: fields.oneOf('onBadLine', ['throw', 'skip']) ?? 'throw',
    output: readOutput(fields),
    batch:
      fields.number('batch', { from: 2, whole: true }) ??
      fields.missing('batch', 'give the number of pairs in a batch'),
    accumulate: fields.count('accumulate') ?? 1,
    chunk: readChunk(fields),
    retain: readRetain(fields),
    loss,
    lossFrom: fields.string('lossFrom'),
    matryoshka: fields.section('matryoshka', readMatryoshka),
    adaptiveLayer: fields.section('adaptiveLayer', readAdaptiveLayer),
    memory: fields.section('memory', readMemory),
    curriculum: fields.section('curriculum', readCurriculum),
    optimizer: readOptimizer(section(fields, 'optimizer')),
    divideOptimizer: fields.boolean('divideOptimizer') ?? false,
    reduction: fields.oneOf('reduction', ['own', 'bfloat16']) ?? 'own',
    exchange: fields.oneOf('exchange', ['gather', 'ring']) ?? 'gather',
    overlap: fields.boolean('overlap') ?? false,
    schedule: readSchedule(section(fields, 'schedule'), 'linear'),
    ...readLength(fields),
    seed: fields.number('seed', { from: 0, whole: true }) ?? 1,
    shuffle: readShuffle(fields),
    uniqueTexts:
      fields.boolean('uniqueTexts') ?? (!masksDuplicates(loss) && (kindOf(loss).comparesRows ?? true)),
    groupByLabel: fields.boolean('groupByLabel') ?? false,
    device: readDevice(fields),
    precision: fields.oneOf('precision', ['float32', 'float64', 'bfloat16', 'tf32']) ?? 'float32',
    maxLength: fields.count('maxLength'),
    dropout: fields.number('dropout', { from: 0, to: 0.99 }),
    frozen: fields.strings('frozen'),
    embeddingGradients: fields.oneOf('embeddingGradients', ['dense', 'rows']) ?? 'dense',
    masterWeights: fields.oneOf('masterWeights', ['device', 'host', 'none']) ?? 'device',
    lora: fields.section('lora', readLora),
    prompts: prompts ?? {},
    evaluation: fields.section('evaluation', (held) =>
      readEvaluation(held, {
        columns: named,
        pairs: kindOf(loss).pairs !== undefined,
        ids: pathOfIds !== undefined,
      }),
    ),
    checkpoint: readCheckpoints(fields),
    resume: readResume(fields),
  } satisfies Omit<TrainConfig, 'loss'> & { readonly loss: FilledLossConfig };
  fields.done();
  requireSuited(fields, config, columns);
  if (images !== undefined) requireSuitedToPictures(fields, config, named);
  requireWeightSettings(fields, config);
  if (datasets !== undefined) requireSets(fields, config);
  if (config.groupByLabel) requireGroups(fields, config);
  const besideLists = ['memory', 'curriculum'].find((name) => fields.raw(name) !== undefined);
  if (config.lists !== undefined && besideLists !== undefined)
    throw new SettingError(
      fields.at('lists'),
      `names columns of lists, which ${besideLists} does not take: leave out one of them.`,
    );
  if (config.memory !== undefined) requireMemory(fields.at('memory'), loss);
  if (config.memory !== undefined && config.accumulate > 1)
    throw new SettingError(
      fields.at('accumulate'),
      `is ${config.accumulate}, and a memory of earlier batches is for updates of one batch: leave one of them out.`,
    );
  if (config.memory !== undefined && config.adaptiveLayer !== undefined)
    throw new SettingError(
      fields.at('adaptiveLayer'),
      'is for batches without a memory: leave out memory, which keeps the representations of one layer.',
    );
  if (config.curriculum !== undefined && config.steps === undefined)
    throw new SettingError(
      fields.at('curriculum'),
      'needs the length of the run as a number of updates: give steps. How many batches an epoch has is known only when ' +
        'its texts have been tokenised.',
    );
  return config;
}

/** A {@link TrainConfig} with its defaults, but for columns that the data is to tell. */
export type ReadTrainConfig = Readonly<ReturnType<typeof readTrainConfig>>;

/** A {@link TrainConfig} with everything that a run needs to know. */
export type FilledTrainConfig = Omit<ReadTrainConfig, 'columns'> & { readonly columns: readonly string[] };

function readLabel(
  fields: Fields,
  columns: readonly string[] | undefined,
  loss: FilledLossConfig,
): string | undefined {
  const label = fields.string('label');
  if (label === undefined) return undefined;
  if (kindOf(loss).label === undefined)
    throw new SettingError(
      fields.at('label'),
      `is ${show(label)}, and the loss ${loss.kind} takes no label.`,
    );
  if (columns?.includes(label) === true || label === '__proto__')
    throw refuse(fields.at('label'), label, 'a column that is none of the texts');
  return label;
}

/** @param named the columns that the configuration names; undefined: those usual, and hard negatives that the data has */
function readLists(
  fields: Fields,
  named: readonly string[] | undefined,
  loss: FilledLossConfig,
): readonly string[] | undefined {
  const lists = fields.strings('lists');
  if (lists === undefined) return undefined;
  requireLists(fields.at('lists'), loss);
  const among = (named ?? usualColumns(loss)).slice(1);
  if (lists.every((name) => among.includes(name) || (named === undefined && NEGATIVE.test(name))))
    return lists;
  throw refuse(fields.at('lists'), lists, `some of the columns behind the anchor (${among.join(', ')})`);
}

function readWeights(
  fields: Fields,
  columns: readonly string[] | undefined,
  loss: FilledLossConfig,
): string | undefined {
  const weights = fields.string('weights');
  if (weights === undefined) return undefined;
  requireWeights(fields.at('weights'), loss);
  if (columns?.includes(weights) === true || weights === '__proto__')
    throw refuse(fields.at('weights'), weights, 'a column that is none of the texts');
  return weights;
}

/** @throws GradCacheError `INPUT` where rows of one label cannot lie side by side in a batch */
function requireGroups(
  fields: Fields,
  {
    loss,
    batch,
    shuffle,
    uniqueTexts,
    curriculum,
  }: Pick<TrainConfig, 'batch' | 'shuffle' | 'uniqueTexts' | 'curriculum'> & { loss: FilledLossConfig },
): void {
  const problem =
    kindOf(loss).label === undefined
      ? `the loss ${loss.kind} takes no label`
      : batch < 4 || batch % 2 !== 0
        ? `batch is ${batch}; an even number from 4 is needed`
        : shuffle !== true
          ? 'shuffle must be true'
          : uniqueTexts === true
            ? 'uniqueTexts must be false'
            : curriculum !== undefined
              ? 'there can be no curriculum'
              : undefined;
  if (problem !== undefined)
    throw new SettingError(
      fields.at('groupByLabel'),
      `puts rows of one label side by side in a batch: ${problem}.`,
    );
}

/** @throws GradCacheError `INPUT` for settings that are not for several data sets */
function requireSets(
  fields: Fields,
  { shuffle, curriculum }: Pick<TrainConfig, 'shuffle' | 'curriculum'>,
): void {
  if (shuffle !== true)
    throw refuse(fields.at('shuffle'), shuffle, 'true, as the rows of several data sets are held in memory,');
  if (curriculum !== undefined)
    throw new SettingError(fields.at('curriculum'), 'is for one set of data: leave it or datasets out.');
}

function readChunk(fields: Fields): NonNullable<TrainConfig['chunk']> {
  const value = fields.raw('chunk') ?? 'auto';
  if (value === 'auto') return value;
  if (typeof value !== 'object')
    throw refuse(fields.at('chunk'), value, '"auto", { sequences } or { tokens }');
  const { sequences, tokens } = fields.section('chunk', (chunk) => ({
    sequences: chunk.count('sequences'),
    tokens: chunk.count('tokens'),
  }))!;
  if (sequences !== undefined && tokens === undefined) return { sequences };
  if (tokens !== undefined && sequences === undefined) return { tokens };
  throw refuse(fields.at('chunk'), value, 'one of { sequences } and { tokens }');
}

function readRetain(fields: Fields): NonNullable<TrainConfig['retain']> {
  const value = fields.raw('retain') ?? 'last';
  if (value === 'last' || value === 'auto') return value;
  if (typeof value !== 'number')
    throw refuse(fields.at('retain'), value, '"last", "auto" or a number of bytes');
  return fields.number('retain', { from: 0 }) as number;
}

function readShuffle(fields: Fields): boolean | { buffer: number } {
  const value = fields.raw('shuffle') ?? true;
  if (typeof value === 'boolean') return value;
  if (typeof value !== 'object') throw refuse(fields.at('shuffle'), value, 'true, false or { buffer: rows }');
  return fields.section('shuffle', (shuffle) => ({
    buffer: shuffle.count('buffer') ?? shuffle.missing('buffer', 'give the number of rows held in memory'),
  }))!;
}

/** Hard negatives are named as JSON arrays name them, and as datasets for sentence-transformers do. */
export const NEGATIVE = /^negative(_?\d+)?$/;

/** @param columns undefined where the configuration names none: negatives that the data turns out to have can be named */
function readPrompts(
  fields: Fields,
  columns: readonly string[] | undefined,
  usual: readonly string[],
): Readonly<Record<string, string | Required<PromptWords>>> {
  const prompts: Record<string, string | Required<PromptWords>> = {};
  const known = columns ?? [...usual, ...fields.names().filter((name) => NEGATIVE.test(name))];
  for (const [place, column] of known.entries()) {
    const value = fields.raw(column);
    if (value === undefined) continue;
    if (typeof value !== 'string' && typeof value !== 'object')
      throw refuse(fields.at(column), value, 'the name of a prompt, or { prefix: words }');
    prompts[column] =
      typeof value === 'string'
        ? (fields.string(column) as string)
        : fields.section(column, (words) => readWords(words, place === 0 ? 'query' : 'document'))!;
  }
  return prompts;
}

function readWords(fields: Fields, name: string): Required<PromptWords> {
  return {
    prefix:
      fields.string('prefix') ??
      fields.missing('prefix', 'give the words to put before the texts of the column'),
    name: fields.string('name') ?? name,
  };
}

function readMemory(fields: Fields) {
  const capacity =
    fields.count('capacity') ?? fields.missing('capacity', 'give the number of representations to keep');
  const start = fields.number('start', { from: 0, whole: true }) ?? 0;
  return { capacity, start, momentum: fields.number('momentum', { from: 0, to: 1 }) };
}
