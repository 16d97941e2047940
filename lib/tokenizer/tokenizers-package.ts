/*
 * The package `tokenizers`, which has an addon of its own. Where that does not open, a plain import fails with advice that
 * helps nobody; and a bundler would try to take the addon in.
 */
import type * as Package from 'tokenizers';
import { GradCacheError } from '../errors.js';
import { isError, reasonOf } from '../options/realms.js';
import { NO_ADDONS } from '../addon/runtime/load.js';
import { ownRequire } from '../addon/runtime/paths.js';

export const { AddedToken, bertProcessing, robertaProcessing, templateProcessing, Tokenizer } = open();
export type AddedToken = Package.AddedToken;
export type Tokenizer = Package.Tokenizer;

function open(): typeof Package {
  const require = ownRequire();
  try {
    return require('tokenizers') as typeof Package;
  } catch (error) {
    const reason = firstReason(error);
    const wayOut = NO_ADDONS.when.test(reason) ? NO_ADDONS.wayOut : 'Install it anew: npm install tokenizers';
    throw new GradCacheError('LIBTORCH_LOAD', `The package tokenizers does not open: ${reason}\n${wayOut}`, {
      cause: error,
    });
  }
}

/** What failed first: the package tries several files, and ends with a guess. */
function firstReason(error: unknown): string {
  return isError(error) && isError(error.cause) ? firstReason(error.cause) : reasonOf(error);
}
