import { isJsonObject } from '../files/strict-json.js';
import { countIn, fractionIn, refusedConfig, type Config } from './config-values.js';

/** The head that transformers' class for sequence classification puts on a sequence's first token. */
export interface Classifier {
  /** What the name of that class begins with, by `model_type`: `Bert` of `BertForSequenceClassification`. */
  readonly classes: Readonly<Record<string, string>>;
  /** In order. The last one has an output for each label. */
  readonly layers: readonly [ClassifierLayer, ClassifierLayer];
  /** The probability of dropout in front of layers. @throws GradCacheError `CHECKPOINT` */
  readonly dropout: (config: Config) => number;
}

/** A linear layer of a head. */
export interface ClassifierLayer {
  /** Its parameters are NAME.weight and NAME.bias. */
  readonly name: string;
  readonly activation: 'identity' | 'tanh' | 'relu' | 'gelu';
  /** Whether dropout is in front of it. */
  readonly dropout: boolean;
  /** Whether it is stored with the prefix of the encoder. */
  readonly prefixed?: boolean;
}

/** The head of RoBERTa, of MPNet and, with another activation, of ELECTRA. */
export const ownLayers = (activation: 'tanh' | 'gelu'): Classifier['layers'] => [
  { name: 'classifier.dense', activation, dropout: true },
  { name: 'classifier.out_proj', activation: 'identity', dropout: true },
];

/** `classifier_dropout`, and the dropout of hidden layers where it is null. */
export const classifierDropout = (config: Config): number => {
  const key = (config['classifier_dropout'] ?? null) === null ? 'hidden_dropout_prob' : 'classifier_dropout';
  return fractionIn(config, key, 0.1);
};

/**
 * How many labels config.json states: as many as `id2label` names, or `num_labels`; 2 where it says nothing, as in transformers.
 *
 * @throws GradCacheError `CHECKPOINT`
 */
export function labelsIn(config: Config): number {
  const { id2label } = config;
  if (id2label === undefined || id2label === null) return countIn(config, 'num_labels', 2);
  if (isJsonObject(id2label) && Object.keys(id2label).length > 0) return Object.keys(id2label).length;
  throw refusedConfig('id2label', id2label, 'an object with a name for each label');
}
