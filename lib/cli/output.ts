import { fileError } from '../file-error.js';

/** Exit codes for an output that cannot be written: by the reader's doing, or by the system's. */
const NO_READER = 141;
const UNWRITABLE = 74;

/**
 * Says what happens where standard output or standard error takes no more. Where whoever read it has gone (`| head`), that is
 * the end, without a word, as of a program that SIGPIPE ends. Where the system refuses (a full disk), the work goes on, for
 * a model is worth more than its log; the other of the two is told once, and the program's exit code says so.
 */
export function watchOutput(): void {
  for (const [stream, name, other] of [
    [process.stdout, 'standard output', process.stderr],
    [process.stderr, 'standard error', process.stdout],
  ] as const) {
    let told = false;
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(NO_READER);
      if (told) return;
      told = true;
      process.exitCode ||= UNWRITABLE;
      const { code, message } = fileError('INPUT', name, 'written', error);
      other.write(`${code}: ${message}\n`);
    });
  }
}
