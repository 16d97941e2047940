import { Worker } from 'node:worker_threads';

/** In plain JavaScript and without imports of ours: the thread then starts in a few milliseconds. */
const WATCH = `
const { Socket } = require('node:net');
new Socket({ fd: 0 }).resume().on('close', () => process.kill(process.pid, 'SIGKILL'));`;

/**
 * Ends this process when its parent is gone, however that ended, and also while a loop without end holds the main thread.
 * The parent must hold the other end of standard input.
 */
export function watchParent(): void {
  new Worker(WATCH, { eval: true, execArgv: [] }).unref();
}

/** {@link watchParent}, and only the parent ends this process. */
export function endWithParent(): void {
  process.on('SIGTERM', () => undefined); // a supervisor sends it to all at once; the parent says when to end
  watchParent();
}
