import { resolve } from 'node:path';
import { DEFAULT_ACROSS, readAcross } from '../../language/across-kinds.js';
import { DOCUMENTS } from '../../language/corpus.js';
import { readLanguageSettings } from '../../language/language-settings.js';
import { readOptimizer } from '../../optim/optimizer-kinds.js';
import { Fields, refuse } from '../../options/fields.js';
import { isPlainObject } from '../../options/realms.js';
import { readCheckpoints } from '../checkpoint-settings.js';
import { readDevice, readLength, readOutput, readResume, readSchedule, section } from '../read-run.js';
import { mayChangeOf, type ResumableSettings } from '../resume-settings.js';
import type { LanguageTrainConfig } from './config.js';

const DEFAULT_OPTIMIZER = 'radam';

/** The settings of a new model without its vocabulary, which the data or a tokenizer tells. */
type NewModel = Exclude<LanguageTrainConfig['model'], string>;

/**
 * Checks a configuration and fills in its defaults.
 *
 * @param path what to call it in messages
 * @throws GradCacheError `INPUT` naming the setting, its value and what would be accepted
 */
export function readLanguageConfig(value: unknown, path = 'config') {
  const fields = new Fields(value, path);
  const rows = fields.count('rows') ?? fields.missing('rows', 'give the number of rows of a batch');
  const model = readModel(fields);
  const config = {
    model,
    data: fields.strings('data') ?? fields.missing('data', 'give the path of a text file, or a list of them'),
    documents: fields.oneOf('documents', DOCUMENTS) ?? 'file',
    vocabulary: readVocabularyKind(fields, model),
    output: readOutput(fields),
    rows,
    segment: readSegment(section(fields, 'segment')),
    across: readAcross(section(fields, 'across')),
    optimizer: readOptimizer(section(fields, 'optimizer'), DEFAULT_OPTIMIZER),
    schedule: readSchedule(section(fields, 'schedule'), 'cosine'),
    ...readLength(fields),
    seed: fields.number('seed', { from: 0, whole: true }) ?? 1,
    device: readDevice(fields),
    precision: fields.oneOf('precision', ['float32', 'float64', 'bfloat16']) ?? 'float32',
    evaluation: fields.section('evaluation', (held) => ({
      data: held.string('data') ?? held.missing('data', 'give the path of a text file'),
      rows: held.count('rows') ?? rows,
      window: held.count('window'),
      every: held.count('every'),
    })),
    checkpoint: readCheckpoints(fields),
    resume: readResume(fields),
  } satisfies LanguageTrainConfig;
  fields.done();
  return config;
}

/** A {@link LanguageTrainConfig} with its defaults. */
export type FilledLanguageConfig = Readonly<ReturnType<typeof readLanguageConfig>>;

function readModel(fields: Fields): string | NewModel {
  const value = fields.raw('model');
  if (typeof value === 'string') return fields.string('model') as string;
  if (value === undefined)
    fields.missing('model', 'give the folder of a language model, or settings of a new one');
  const given = fields.object('model')!;
  if (given.names().includes('vocabulary'))
    throw refuse(given.at('vocabulary'), given.raw('vocabulary'), 'config.vocabulary in its place');
  // Mistakes are told before any data is read: no vocabulary is larger than this one.
  readLanguageSettings({ ...(value as object), vocabulary: 2 ** 31 - 1 }, fields.at('model'));
  return { ...(value as object) };
}

/** @returns undefined for a model that exists, which has its vocabulary */
function readVocabularyKind(fields: Fields, model: string | NewModel): LanguageTrainConfig['vocabulary'] {
  const value = fields.raw('vocabulary');
  if (typeof model === 'string') {
    if (value !== undefined)
      throw refuse(fields.at('vocabulary'), value, 'nothing: a model that exists has its vocabulary;');
    return undefined;
  }
  if (value === undefined || value === 'bytes') return 'bytes';
  if (value === 'characters') return value;
  if (!isPlainObject(value))
    throw refuse(fields.at('vocabulary'), value, '"bytes", "characters" or { "tokenizer": FILE }');
  return fields.section('vocabulary', (inner) => ({
    tokenizer: inner.string('tokenizer') ?? inner.missing('tokenizer', 'give the path of a tokenizer.json'),
  }));
}

function readSegment(fields: Fields) {
  const segment = {
    length: fields.count('length') ?? fields.missing('length', 'give the tokens of a row in a segment'),
    count: fields.count('count') ?? 1,
    jitter: fields.boolean('jitter') ?? false,
  };
  fields.done();
  return segment;
}

/** What a checkpoint keeps of a configuration: all but where the run writes, with paths that hold in any folder. */
export function storedLanguageConfig(config: FilledLanguageConfig): Record<string, unknown> {
  const { output: _, resume: __, ...settings } = config;
  const { model, data, vocabulary, evaluation } = settings;
  return {
    ...settings,
    model: typeof model === 'string' ? resolve(model) : model,
    data: data.map((path) => resolve(path)),
    ...(typeof vocabulary === 'object' && { vocabulary: { tokenizer: resolve(vocabulary.tokenizer) } }),
    ...(evaluation && { evaluation: { ...evaluation, data: resolve(evaluation.data) } }),
  };
}

/** How the settings of a run are resumed. */
export const LANGUAGE_RUN: ResumableSettings<FilledLanguageConfig> = {
  read: readLanguageConfig,
  sections: ['segment', 'across', 'optimizer', 'schedule', 'evaluation', 'checkpoint'],
  kinds: {
    across: { key: 'kind', default: DEFAULT_ACROSS },
    optimizer: { key: 'kind', default: DEFAULT_OPTIMIZER },
  },
  mayChange: mayChangeOf(),
  stored: storedLanguageConfig,
};
