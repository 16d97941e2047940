/*
 * What a configuration says of the model of a run: which one it starts from, how it pools and reads.
 */
import { POOLINGS } from '../encoders/text-encoder-options.js';
import { kindOf, type FilledLossConfig } from '../losses/loss-kinds.js';
import type { QueryExpansion } from '../model-folder/late-interaction.js';
import { Fields, refuse } from '../options/fields.js';
import type { LateInteractionConfig, NewModel } from './config.js';

/** The model that a run starts from: a folder, or what one of random weights is made of. @throws SettingError */
export function readModel(fields: Fields): string | NewModel {
  if (typeof fields.raw('model') === 'string') return fields.string('model') as string;
  return (
    fields.section('model', readNewModel) ??
    fields.missing('model', 'give a model folder, or { config, tokenizer }')
  );
}

function readNewModel(fields: Fields): NewModel {
  const config =
    fields.raw('config') ?? fields.missing('config', 'give a transformers config or the path of one');
  return {
    config: typeof config === 'string' ? config : checkObject(config, fields.at('config')),
    tokenizer: fields.string('tokenizer') ?? fields.missing('tokenizer', 'give the path of a tokenizer.json'),
    pooling: fields.oneOf('pooling', POOLINGS),
    normalize: fields.boolean('normalize'),
  };
}

/** The pooling of a model from random weights may also stand beside the model. Of a folder's, `'none'` and `'splade'` can be asked for. */
export function readPooling(
  fields: Fields,
  model: string | NewModel,
  { loss, towers }: { loss: FilledLossConfig; towers: boolean },
) {
  const pooling = fields.oneOf('pooling', POOLINGS);
  if (typeof model !== 'string' && (kindOf(loss).pairs !== undefined || towers)) {
    const { config, tokenizer } = model; // a cross-encoder does not pool, nor do towers of pictures
    const architecture: NewModel = { config, tokenizer };
    return { model: architecture, pooling };
  }
  if (typeof model !== 'string') {
    const own = model.pooling ?? pooling ?? 'mean';
    const normalize = model.normalize ?? own !== 'splade';
    return { model: { ...model, pooling: own, normalize }, pooling: undefined };
  }
  if (pooling === undefined || pooling === 'none' || pooling === 'splade') return { model, pooling };
  throw refuse(
    fields.at('pooling'),
    pooling,
    '"none" or "splade", as a folder says how else its model pools,',
  );
}

/** How a model with a representation for each token is to read texts. @throws SettingError */
export function readLateInteraction(fields: Fields): LateInteractionConfig {
  const { skippedWords, skippedIn, ...others } = {
    projection: fields.count('projection'),
    queryLength: fields.count('queryLength'),
    documentLength: fields.count('documentLength'),
    queryExpansion: fields.section('queryExpansion', readExpansion),
    skippedWords: fields.strings('skippedWords'),
    skippedIn: fields.strings('skippedIn'),
  };
  const wrong = skippedIn?.find((task) => task !== 'query' && task !== 'document');
  if (wrong !== undefined)
    throw refuse(fields.at('skippedIn'), skippedIn, 'a list of "query" and "document"');
  const lists = { skippedWords, skippedIn: skippedIn as LateInteractionConfig['skippedIn'] };
  const given = Object.entries({ ...others, ...lists }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given);
}

function readExpansion(fields: Fields): QueryExpansion {
  return {
    strategy: fields.oneOf('strategy', ['fixed', 'min']) ?? 'fixed',
    length: fields.count('length') ?? fields.missing('length', 'give the number of tokens of a query'),
    attend: fields.boolean('attend') ?? false,
    token: fields.string('token') ?? null,
  };
}

function checkObject(value: unknown, path: string): Readonly<Record<string, unknown>> {
  new Fields(value, path); // refuses what is not an object
  return value as Record<string, unknown>;
}
