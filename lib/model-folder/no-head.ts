import { GradCacheError } from '../errors.js';

/** A folder that is to open as a cross-encoder has no head for pairs: of its own kind, so that a command can name its own way to one. */
export class NoHead extends GradCacheError {
  constructor(message: string) {
    super('CHECKPOINT', message);
  }
}
