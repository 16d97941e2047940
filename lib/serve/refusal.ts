import { GradCacheError } from '../errors.js';
import { isError } from '../options/realms.js';

/** Why a request gets no answer. */
export interface Refusal {
  readonly status: 400 | 401 | 404 | 405 | 413 | 415 | 422 | 429 | 500 | 503;
  /** A short name that a program can branch on. */
  readonly code: string;
  readonly message: string;
  /** The property of the body that is wrong. */
  readonly property?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Thrown where a request is refused. */
export class RefusedRequest extends GradCacheError {
  constructor(readonly refusal: Refusal) {
    super('INPUT', refusal.message);
  }
}

/** @throws RefusedRequest */
export function refuse(refusal: Refusal): never {
  throw new RefusedRequest(refusal);
}

/** What the client is told of an error. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof RefusedRequest) return error.refusal;
  if (error instanceof GradCacheError)
    switch (error.code) {
      case 'INPUT':
      case 'SHAPE':
        return { status: 422, code: 'invalid_input', message: error.message };
      case 'OUT_OF_MEMORY':
        return {
          status: 503,
          code: 'out_of_memory',
          message: error.message,
          headers: { 'Retry-After': '5' },
        };
      case 'ABORTED':
        return { status: 503, code: 'stopped', message: error.message, headers: { 'Retry-After': '1' } };
      default:
        return { status: 500, code: error.code.toLowerCase(), message: error.message };
    }
  // What a fault of this program says may hold anything.
  return { status: 500, code: 'internal_error', message: 'the server failed at this request.' };
}

/** The code of an error, for those who run the server. */
export function codeOf(error: unknown): string {
  if (error instanceof GradCacheError) return error.code;
  return isError(error) ? error.name : 'ERROR';
}
