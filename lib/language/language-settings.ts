import type { LanguageModelHandleSettings } from '../addon/native.js';
import { Fields, refuse, SettingError } from '../options/fields.js';
import { readSettings, type SettingTable } from '../options/setting-table.js';

/** The recurrent layers that a language model can have. */
export const CELLS = ['sru++', 'sru', 'qrnn', 'lstm', 'gru'] as const;
/** The kind of a recurrent layer. */
export type Cell = (typeof CELLS)[number];

/** More than any model has: no memory is asked for from a mistyped number. */
const MOST_LAYERS = 4096;
const MOST = 2 ** 31 - 1;

/** Numbers and switches of a language model that have a default of their own. */
interface Simple {
  /** Recurrent layers. */
  readonly layers: number;
  /** Columns of a layer's output. */
  readonly width: number;
  /** Heads of the attention of SRU++. */
  readonly heads: number;
  /** Every so many layers of SRU++, one has attention; the others have the same projections without it. */
  readonly attentionEvery: number;
  /** To how many tokens before its own a token attends in evaluation and generation. */
  readonly window: number;
  /** Where an SRU layer has a layer norm: on its input, on its output, or nowhere. */
  readonly norm: 'none' | 'before' | 'after';
  /** Added to the variance in LayerNorm. */
  readonly normEpsilon: number;
  /** Scales the skip of an SRU layer, so that its output has the variance of its input at first. */
  readonly rescale: boolean;
  /** How many tokens the gates of a QRNN layer see: 1 or 2. */
  readonly qrnnWindow: number;
  /** By how much the vectors of a cluster are narrower than those of the cluster before. */
  readonly divisor: number;
  /** Whether the softmax uses the word vectors as its matrix, or has one of its own. */
  readonly output: 'own' | 'tied';
  /** A bias for every word. */
  readonly bias: boolean;
  /** Dropout of what the layers hand on to each other; all tokens of a row lose the same columns. */
  readonly dropout: number;
  /** Dropout of attention weights. */
  readonly attentionDropout: number;
  /** Share of words whose vectors are 0 for a whole segment. */
  readonly wordDropout: number;
  /** Dropout of what enters the first layer. */
  readonly inputDropout: number;
  /** Dropout of what enters the softmax. */
  readonly outputDropout: number;
  /** Dropout of the recurrent matrix of LSTM and GRU, and of the matrix of QRNN. */
  readonly weightDropout: number;
  /** Whether input and output dropout take the same columns from all tokens of a row, as AWD-LSTM does. */
  readonly sharedMasks: boolean;
  /** Weight of the mean square of the last layer's outputs after dropout, added to a token's loss. */
  readonly activationPenalty: number;
  /** Weight of the mean square of their change from one token of a segment to the next. */
  readonly slownessPenalty: number;
  /** In training, a target's logit is lowered by this times the lengths of its vector and of the output. */
  readonly adversarialNoise: number;
  /** Word vectors and the softmax start uniform from -x to x; 0: from -√(3 / columns) to √(3 / columns). */
  readonly initialRange: number;
}

/** A language model's settings, all of them. */
export interface LanguageModelSettings extends Simple {
  /** Tokens that there are. */
  readonly vocabulary: number;
  /** The kind of its layers. */
  readonly cell: Cell;
  /** Columns of the word vectors. Default: the width. */
  readonly embedding: number;
  /** Columns of the narrower space in which SRU++ attends. Default: a quarter of the width. */
  readonly projected: number;
  /** The layers of SRU++ with attention, by number from 0; null: every `attentionEvery`-th. */
  readonly attentionLayers: readonly number[] | null;
  /**
   * How many tokens before a segment its attention remembers in training. Null: as many as the segment has, as
   * published.
   */
  readonly memory: number | null;
  /** What the reset gate's bias starts with. Default: -2 for SRU++, 0 for SRU. */
  readonly highwayBias: number;
  /**
   * Ends of the clusters of a vocabulary that is sorted by frequency, the last left out: `[20000, 60000]` makes three. Default:
   * none, one softmax over all words.
   */
  readonly cutoffs: readonly number[];
  /** Whether a tied softmax uses the projections of the word vectors too. Default: true. */
  readonly tiedProjections: boolean;
}

/** What {@link LanguageModel.create} needs: the vocabulary, and whatever differs from the defaults. */
export type NewLanguageModel = Pick<LanguageModelSettings, 'vocabulary'> &
  Partial<Omit<LanguageModelSettings, 'vocabulary'>>;

const share = (help: string) => ({ kind: 'number', default: 0, from: 0, to: 0.99, help }) as const;
const count = (otherwise: number, help: string) =>
  ({ kind: 'number', default: otherwise, from: 1, to: MOST, whole: true, help }) as const;
const weight = (help: string) => ({ kind: 'number', default: 0, from: 0, help }) as const;

/** The settings with a default of their own, for configuration files and the command line. */
export const LANGUAGE_SETTINGS: SettingTable<Simple> = {
  layers: { ...count(10, 'recurrent layers'), to: MOST_LAYERS },
  width: count(1024, "columns of a layer's output"),
  heads: count(1, 'heads of the attention of SRU++'),
  attentionEvery: count(1, 'every so many layers of SRU++, one has attention'),
  window: count(1024, 'tokens before its own that a token attends to in evaluation'),
  norm: {
    kind: 'choice',
    default: 'none',
    accepted: ['none', 'before', 'after'],
    help: 'place of the layer norm of an SRU layer',
  },
  normEpsilon: { kind: 'number', default: 1e-5, above: 0, below: 1, help: 'added to a variance' },
  rescale: { kind: 'switch', default: false, help: 'scale the skip of an SRU layer' },
  qrnnWindow: { ...count(1, 'tokens that the gates of a QRNN layer see'), to: 2 },
  divisor: count(4, 'by how much the vectors of the next cluster are narrower'),
  output: {
    kind: 'choice',
    default: 'own',
    accepted: ['own', 'tied'],
    help: 'matrix of the softmax: its own, or the word vectors',
  },
  bias: { kind: 'switch', default: true, help: 'a bias for every word' },
  dropout: share('dropout of what the layers hand on'),
  attentionDropout: share('dropout of attention weights'),
  wordDropout: share('share of words that a segment loses'),
  inputDropout: share('dropout of what enters the first layer'),
  outputDropout: share('dropout of what enters the softmax'),
  weightDropout: share('dropout of recurrent matrices'),
  sharedMasks: { kind: 'switch', default: false, help: 'the same dropout for all tokens of a row' },
  activationPenalty: weight("weight of the mean square of the last layer's outputs"),
  slownessPenalty: weight('weight of the mean square of their change'),
  adversarialNoise: weight("how far a target's logit is lowered"),
  initialRange: weight('bound of the first word vectors; 0: by their columns'),
};

/**
 * Reads a language model's settings and fills in the defaults.
 *
 * @param path of the settings in messages
 * @throws SettingError `INPUT` naming the setting, its value and what would be accepted
 */
export function readLanguageSettings(given: unknown, path: string): LanguageModelSettings {
  const fields = new Fields(given, path);
  const size = (name: string) => fields.number(name, { from: 1, to: MOST, whole: true });
  const vocabulary = size('vocabulary') ?? fields.missing('vocabulary', 'a whole number from 1 is needed');
  const cell = fields.oneOf('cell', CELLS) ?? 'sru++';
  const simple = readSettings(fields, LANGUAGE_SETTINGS);
  const settings: LanguageModelSettings = {
    vocabulary,
    cell,
    ...simple,
    embedding: size('embedding') ?? simple.width,
    projected: size('projected') ?? Math.max(1, Math.floor(simple.width / 4)),
    attentionLayers: wholeNumbers(fields, 'attentionLayers', { from: 0, below: simple.layers }) ?? null,
    memory: fields.number('memory', { from: 0, to: MOST, whole: true }) ?? null,
    highwayBias: fields.number('highwayBias', {}) ?? (cell === 'sru++' ? -2 : 0),
    cutoffs: wholeNumbers(fields, 'cutoffs', { from: 1, below: vocabulary }) ?? [],
    tiedProjections: fields.boolean('tiedProjections') ?? true,
  };
  fields.done('a language model');
  requireFitting(settings, fields);
  return settings;
}

/** Settings that depend on each other. */
function requireFitting(settings: LanguageModelSettings, fields: Fields): void {
  const { cutoffs, cell, projected, heads, attentionLayers, attentionEvery, divisor, embedding } = settings;
  const disordered = cutoffs.findIndex((end, k) => k > 0 && end <= cutoffs[k - 1]!);
  if (disordered >= 0)
    throw refuse(
      `${fields.at('cutoffs')}[${disordered}]`,
      cutoffs[disordered],
      'a number above the one before',
    );
  if (Math.floor(embedding / divisor ** cutoffs.length) < 1)
    throw refuse(
      fields.at('divisor'),
      divisor,
      `a divisor that leaves word vectors of ${embedding} columns one after ${cutoffs.length} cut-offs`,
    );
  if (cell === 'sru++' && projected % heads !== 0)
    throw refuse(fields.at('heads'), heads, `a divisor of projected, which is ${projected},`);
  if (attentionLayers !== null && new Set(attentionLayers).size !== attentionLayers.length)
    throw refuse(fields.at('attentionLayers'), attentionLayers, 'a list of different numbers');
  if (attentionLayers !== null && attentionEvery !== 1)
    throw new SettingError(fields.at('attentionEvery'), 'says what attentionLayers says: give one of them.');
  for (const [name, { applies, belongsTo }] of Object.entries(CONDITIONS)) {
    const given = fields.raw(name);
    if (applies(settings) || given === undefined || given === settingDefault(name)) continue;
    throw new SettingError(
      fields.at(name),
      `is a setting of ${belongsTo}, which this model has not; leave it out.`,
    );
  }
}

interface Condition {
  readonly applies: (settings: LanguageModelSettings) => boolean;
  /** What has the setting, in words. */
  readonly belongsTo: string;
}

const ofCells = (...cells: Cell[]): Condition => ({
  applies: ({ cell }) => cells.includes(cell),
  belongsTo: `layers of ${cells.join(', ')}`,
});

/** Settings that only some models have. */
const CONDITIONS: Readonly<Record<string, Condition>> = {
  projected: ofCells('sru++'),
  heads: ofCells('sru++'),
  attentionEvery: ofCells('sru++'),
  attentionLayers: ofCells('sru++'),
  attentionDropout: ofCells('sru++'),
  memory: ofCells('sru++'),
  window: ofCells('sru++'),
  norm: ofCells('sru', 'sru++'),
  rescale: ofCells('sru', 'sru++'),
  highwayBias: ofCells('sru', 'sru++'),
  qrnnWindow: ofCells('qrnn'),
  weightDropout: ofCells('qrnn', 'lstm', 'gru'),
  divisor: { applies: ({ cutoffs }) => cutoffs.length > 0, belongsTo: 'a vocabulary with cut-offs' },
  tiedProjections: { applies: ({ output }) => output === 'tied', belongsTo: 'a tied softmax' },
};

function settingDefault(name: string): unknown {
  return Object.hasOwn(LANGUAGE_SETTINGS, name) ? LANGUAGE_SETTINGS[name as keyof Simple].default : undefined;
}

/** Also an empty list, which means none. */
function wholeNumbers(
  fields: Fields,
  name: string,
  bounds: { from: number; below: number },
): readonly number[] | undefined {
  const value = fields.raw(name);
  if (Array.isArray(value) && value.length === 0) return [];
  return fields.numbers(name, { ...bounds, whole: true });
}

/** The settings that the model has, as config.json holds them. */
export function settingsToStore(settings: LanguageModelSettings): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(settings).filter(
      ([name, value]) => value !== null && (CONDITIONS[name]?.applies(settings) ?? true),
    ),
  );
}

/**
 * What native/language makes a model of. Layers of SRU take rows of one width, to which word vectors of another are projected.
 * With other cells, the first layer takes the word vectors as they are. With a tied softmax, their last layer returns rows of
 * that width, as in AWD-LSTM.
 */
export function nativeSettings(settings: LanguageModelSettings): LanguageModelHandleSettings {
  const { vocabulary, embedding, width, layers, cutoffs, divisor, tiedProjections, output, bias } = settings;
  const residual = settings.cell === 'sru' || settings.cell === 'sru++';
  const tied = output === 'tied';
  return {
    vocabulary,
    embedding,
    divisor,
    cutoffs,
    tied,
    tiedProjections,
    bias,
    width: residual ? width : embedding,
    wordDropout: settings.wordDropout,
    inputDropout: settings.inputDropout,
    outputDropout: settings.outputDropout,
    sharedMasks: settings.sharedMasks,
    activationPenalty: settings.activationPenalty,
    slownessPenalty: settings.slownessPenalty,
    adversarialNoise: settings.adversarialNoise,
    initialRange: settings.initialRange,
    layers: Array.from({ length: layers }, (_, number) => {
      const last = number === layers - 1;
      return {
        kind: settings.cell,
        width: last && tied && !residual ? embedding : width,
        // As published, what follows the last layer decides on its dropout.
        dropout: last ? 0 : settings.dropout,
        ...layerSettings(settings, number),
      };
    }),
  };
}

function layerSettings(settings: LanguageModelSettings, number: number): LanguageModelHandleSettings {
  const { cell, norm, normEpsilon, rescale, highwayBias, weightDropout } = settings;
  const sru = { norm, normEpsilon, rescale, highwayBias };
  switch (cell) {
    case 'sru':
      return sru;
    case 'sru++':
      return {
        ...sru,
        projected: settings.projected,
        heads: settings.heads,
        attention: settings.attentionLayers?.includes(number) ?? (number + 1) % settings.attentionEvery === 0,
        projectionDropout: settings.dropout,
        attentionDropout: settings.attentionDropout,
      };
    case 'qrnn':
      return { window: settings.qrnnWindow, weightDropout };
    case 'lstm':
    case 'gru':
      return { weightDropout };
  }
}
