import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireCount,
  requireFunction,
  requireNumber,
  requireSignal,
} from '../options/option-values.js';
import { drawSeed, requireSeed } from '../options/seeds.js';

/** How {@link LanguageModel.generate} draws tokens. Temperature, `topK` and `topP` are applied in this order. */
export interface GenerateOptions {
  /** How many tokens to draw. */
  readonly tokens: number;
  /** Divides the log-probabilities. 0: always the most probable token. Default: 1. */
  readonly temperature?: number;
  /** Draws from so many of the most probable tokens; 0: from all. Default: 0. */
  readonly topK?: number;
  /** Draws from the fewest of the most probable tokens that together have this probability. Default: 1. */
  readonly topP?: number;
  /** The same seed draws the same tokens. Default: 0. */
  readonly seed?: number;
  /** A token that ends the text; it is the last one returned. */
  readonly until?: number;
  /** To how many tokens before its own a token attends. Default: the model's setting. */
  readonly window?: number;
  /** Called with each token. */
  readonly onToken?: (token: number) => void;
  /** Ends the work between two tokens. */
  readonly signal?: AbortSignal | undefined;
}

/** @throws GradCacheError `INPUT` */
export function checkGeneration(prompt: unknown, options: GenerateOptions): asserts prompt is Int32Array {
  const names = ['tokens', 'temperature', 'topK', 'topP', 'seed', 'until', 'window', 'onToken', 'signal'];
  checkKnown('generate', options, names);
  if (!types.isInt32Array(prompt)) throw refused('the prompt', prompt, 'an Int32Array of token ids');
  if (prompt.length === 0)
    throw new GradCacheError('INPUT', 'the prompt is empty: a model needs a token to go on from');
  const { tokens, temperature = 1, topK = 0, topP = 1, seed = 0, until, window, onToken, signal } = options;
  requireCount('tokens', tokens, 0);
  requireNumber('temperature', temperature, { from: 0 });
  requireCount('topK', topK, 0);
  requireNumber('topP', topP, { above: 0, to: 1 });
  requireSeed(seed);
  if (until !== undefined) requireCount('until', until, 0);
  if (window !== undefined) requireCount('window', window, 1);
  if (onToken !== undefined) requireFunction('onToken', onToken);
  requireSignal('signal', signal);
}

/** A number from [0, 1) for the draw of one token. */
export function numberFor(seed: number, place: number): number {
  return drawSeed('token', seed, place) / 2 ** 53;
}
