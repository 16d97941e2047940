/*
 * Flags of texts that are read in windows, in the commands that use a finished model.
 */
import type { Windows } from '../encoders/long-texts.js';
import type { SharedModel } from '../evaluation/shared-encoder.js';
import { windowedEncoder } from '../evaluation/windowed.js';
import { type Arguments, type Flags, number, onOff, UsageError } from './flags.js';
import type { OpenedEncoder } from './model.js';

/** The names of the flags of {@link windowFlags}. */
export const WINDOW_FLAGS = ['windows', 'window-overlap'] as const;

/** @param what may be read in windows @param otherwise what becomes of it by default */
export function windowFlags(what: string, otherwise = 'they are cut') {
  return {
    windows: onOff(`read ${what}; default: ${otherwise}`),
    'window-overlap': number(
      'TOKENS',
      'of --windows: tokens that a window repeats of the one before it; default 0',
    ),
  } as const satisfies Flags;
}

/** Whether texts are read in windows, and how. @throws UsageError for an overlap of none */
export function windowsOf(args: Arguments): Windows | undefined {
  const overlap = args.within('window-overlap', { from: 0, whole: true });
  if (args.on('windows')) return overlap === undefined ? true : { overlap };
  if (overlap === undefined) return undefined;
  throw new UsageError('--window-overlap is of windows, and there are none: add --windows.');
}

/**
 * A text encoder that reads long texts in windows, where they are asked for.
 *
 * @throws UsageError for a model with one dense representation of a text
 */
export function withWindows(model: OpenedEncoder, windows: Windows | undefined): SharedModel {
  if (windows === undefined || model.sparse || model.perToken) return windowedEncoder(model, windows);
  throw new UsageError(
    '--windows is for sparse models, those with a representation for each token, and cross-encoders: this model gives a text one ' +
      'dense representation. Leave it out, or cut long texts into texts of their own.',
  );
}
