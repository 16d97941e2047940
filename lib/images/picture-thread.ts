/*
 * The program of a thread that decodes and prepares pictures: see picture-threads.ts.
 */
import { parentPort } from 'node:worker_threads';
import { GradCacheError, type ErrorCode } from '../errors.js';
import { preparePicture } from './prepare-picture.js';
import type { Preprocessing } from './preprocessing.js';

/** A picture to read. */
export interface PictureTask {
  readonly id: number;
  readonly path: string;
  readonly preprocessing: Preprocessing;
}

/** Its points, or what is wrong with it; null for a code where the program is wrong. */
export type PictureAnswer = { readonly id: number } & (
  | { readonly points: Uint8Array<ArrayBuffer> }
  | { readonly code: ErrorCode | null; readonly message: string; readonly cause: unknown }
);

async function answerTo({ id, path, preprocessing }: PictureTask): Promise<PictureAnswer> {
  try {
    // A copy, because the memory of a decoder's result may be shared, and it is given away.
    return { id, points: new Uint8Array(await preparePicture(path, preprocessing)) };
  } catch (error) {
    const { message, cause } = error as Error;
    return { id, code: error instanceof GradCacheError ? error.code : null, message, cause };
  }
}

parentPort!.on('message', (task: PictureTask) => {
  void answerTo(task).then((answer) => {
    parentPort!.postMessage(answer, 'points' in answer ? [answer.points.buffer] : []);
  });
});
