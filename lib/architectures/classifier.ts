import { isJsonObject } from '../files/strict-json.js';
import { countIn, fractionIn, refusedConfig, type Config } from './config-values.js';

/** The head that transformers' class for sequence classification puts on an encoder. */
export interface Classifier {
  /** What the name of that class begins with, by `model_type`: `Bert` of `BertForSequenceClassification`. */
  readonly classes: Readonly<Record<string, string>>;
  /** How the rows of tokens become the one that the layers take. Absent: the first token's. @throws GradCacheError `CHECKPOINT` */
  readonly pooling?: (config: Config) => 'cls' | 'mean' | 'last';
  /** How many of the layers tokens go through before they are pooled. Absent: none. */
  readonly perToken?: (config: Config) => number;
  /** In order. The last one has an output for each label. */
  readonly layers: readonly ClassifierLayer[];
}

/** A layer of a head. Its parameters are NAME.weight and NAME.bias. */
export type ClassifierLayer = ClassifierLinear | ClassifierNorm;

interface Named {
  readonly name: string;
  /** Whether there is a bias. Absent: yes. @throws GradCacheError `CHECKPOINT` */
  readonly bias?: (config: Config) => boolean;
  /** Whether it is stored with the prefix of the encoder. */
  readonly prefixed?: boolean;
}

export interface ClassifierLinear extends Named {
  /** Absent: identity. @throws GradCacheError `CHECKPOINT` */
  readonly activation?: (config: Config) => string;
  /** The probability of dropout in front of it; absent: there is none. @throws GradCacheError `CHECKPOINT` */
  readonly dropout?: (config: Config) => number;
}

/** A layer norm. */
export interface ClassifierNorm extends Named {
  readonly epsilon: (config: Config) => number;
}

/** The head of RoBERTa, of MPNet and, with another activation, of ELECTRA. */
export const ownLayers = (
  activation: 'tanh' | 'gelu',
  dropout: (config: Config) => number,
): Classifier['layers'] => [
  { name: 'classifier.dense', activation: () => activation, dropout },
  { name: 'classifier.out_proj', dropout },
];

/** `classifier_dropout`, and the dropout of hidden layers where it is null. */
export const classifierDropout = (config: Config): number => {
  const key = (config['classifier_dropout'] ?? null) === null ? 'hidden_dropout_prob' : 'classifier_dropout';
  return fractionIn(config, key, 0.1);
};

/** The head of BERT and its kin: the pooler, which is stored with the encoder, and a layer behind it. */
export const poolerLayers = (pooler: string, dropout: (config: Config) => number): Classifier['layers'] => [
  { name: pooler, activation: () => 'tanh', prefixed: true },
  { name: 'classifier', dropout },
];

/** The head of decoders: a layer without bias on the last token that is not padding. */
export const lastTokenClassifier = (classes: Classifier['classes']): Classifier => ({
  classes,
  pooling: () => 'last',
  layers: [{ name: 'score', bias: () => false }],
});

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
