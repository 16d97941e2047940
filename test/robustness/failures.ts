import assert from 'node:assert/strict';
import { GradCacheError, type ErrorCode } from '../../lib/index.js';

/** For assert.throws and assert.rejects: a GradCacheError of this code whose message matches. */
export const fails =
  (code: ErrorCode | readonly ErrorCode[], pattern = /./) =>
  (error: unknown): boolean => {
    assert.ok(
      error instanceof GradCacheError,
      `not a GradCacheError: ${error instanceof Error ? error.stack : String(error)}`,
    );
    assert.ok([code].flat().includes(error.code), `${error.code}: ${error.message}`);
    assert.match(error.message, pattern);
    return true;
  };
