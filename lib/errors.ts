/** The codes of {@link ErrorCode}. */
export const ERROR_CODES = [
  'LIBTORCH_NOT_FOUND',
  'LIBTORCH_VERSION',
  'LIBTORCH_LOAD',
  'CUDA_UNAVAILABLE',
  'SHAPE',
  'DTYPE',
  'DEVICE',
  'OPERATOR',
  'INPUT',
  'CHECKPOINT',
  'NON_FINITE',
  'OUT_OF_MEMORY',
  'ABORTED',
  'DISPOSED',
  'DISTRIBUTED',
  'SETUP',
  'HUB',
  'DISTRIBUTED',
] as const;

/**
 * Every way in which gradcache can fail, as a stable code that a program can branch on.
 *
 * | code | meaning |
 * |---|---|
 * | `LIBTORCH_NOT_FOUND` | no libtorch at any of the places looked at |
 * | `LIBTORCH_VERSION` | a libtorch was found, but no build of the addon fits its version |
 * | `LIBTORCH_LOAD` | a library of libtorch, or an addon, could not be opened |
 * | `CUDA_UNAVAILABLE` | `device: 'cuda'` was asked for and cannot be had |
 * | `SHAPE` | a tensor or list has the wrong shape or length |
 * | `DTYPE` | a tensor has the wrong element type |
 * | `DEVICE` | tensors that must share a device do not, or the device does not exist |
 * | `OPERATOR` | an ATen operator does not exist or refused its arguments |
 * | `INPUT` | a bad option, text, line or file of data |
 * | `CHECKPOINT` | a model folder or weight file is damaged, hostile or not supported |
 * | `NON_FINITE` | a loss or gradient is NaN or infinite |
 * | `OUT_OF_MEMORY` | memory of the host or the device ran out |
 * | `ABORTED` | an AbortSignal fired, or the engine was shut down |
 * | `DISPOSED` | a tensor or encoder was used after `dispose()` |
 * | `DISTRIBUTED` | another rank ended, failed, or did not come within the timeout |
 * | `SETUP` | a tool that a set-up step needs is missing or failed |
 * | `HUB` | the Hugging Face hub cannot be reached, refuses, or sends other bytes than it lists |
 * | `DISTRIBUTED` | another process of a training on several GPUs ended, failed, differs or did not come in time |
 */
export type ErrorCode = (typeof ERROR_CODES)[number];

/**
 * The one error class of the package: a stable {@link ErrorCode}, and a message that names the value and what to do.
 *
 * @example
 * ```ts
 * try {
 *   await TextEncoder.load('no-such-folder');
 * } catch (error) {
 *   if (error instanceof GradCacheError && error.code === 'CHECKPOINT') console.error(error.message);
 *   else throw error;
 * }
 * ```
 */
export class GradCacheError extends Error {
  /** `'GradCacheError'`, by which it is known in other realms too. */
  override readonly name = 'GradCacheError';
  /** What kind of error it is; the README says what to do about each. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
