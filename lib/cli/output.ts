import type { GradCacheError } from '../errors.js';
import { fileError } from '../files/file-error.js';

/** Exit codes for an output that cannot be written: by the reader's doing, or by the system's. */
const NO_READER = 141;
export const UNWRITABLE = 74;

const toldErrors = new WeakSet<object>();

/** Whether an error comes from a standard stream that takes no more, which {@link watchOutput} has told. */
export function wasTold({ cause }: GradCacheError): boolean {
  return typeof cause === 'object' && cause !== null && toldErrors.has(cause);
}

/**
 * Decides what happens when standard output or standard error takes no more. If its reader has gone (`| head`), the program
 * ends without a word, as SIGPIPE would end it. If the system refuses (a full disk), the work goes on, because a model is
 * worth more than its log. The other stream is then told once, and the exit code says so.
 */
export function watchOutput(): void {
  for (const [stream, name, other] of [
    [process.stdout, 'standard output', process.stderr],
    [process.stderr, 'standard error', process.stdout],
  ] as const) {
    let told = false;
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(NO_READER);
      toldErrors.add(error);
      if (told) return;
      told = true;
      process.exitCode ||= UNWRITABLE;
      const { code, message } = fileError('INPUT', name, 'written', error);
      other.write(`${code}: ${message}\n`);
    });
  }
}
