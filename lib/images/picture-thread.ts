/*
 * The program of a thread that decodes and prepares pictures: see picture-threads.ts.
 */
import { parentPort } from 'node:worker_threads';
import { GradCacheError, type ErrorCode } from '../errors.js';
import { readPicture } from './picture.js';
import { prepared, type Preprocessing } from './preprocessing.js';

/** A picture to read. */
export interface PictureTask {
  readonly id: number;
  readonly path: string;
  readonly preprocessing: Preprocessing;
}

/** Its points, or what is wrong with it. */
export type PictureAnswer = { readonly id: number } & (
  { readonly points: Uint8Array<ArrayBuffer> } | { readonly code: ErrorCode; readonly message: string }
);

async function answerTo({ id, path, preprocessing }: PictureTask): Promise<PictureAnswer> {
  try {
    // A copy, because the memory of a decoder's result may be shared, and it is given away.
    return { id, points: new Uint8Array(prepared(await readPicture(path), preprocessing).points) };
  } catch (error) {
    const code = error instanceof GradCacheError ? error.code : 'INPUT';
    return { id, code, message: (error as Error).message };
  }
}

parentPort!.on('message', (task: PictureTask) => {
  void answerTo(task).then((answer) => {
    parentPort!.postMessage(answer, 'points' in answer ? [answer.points.buffer] : []);
  });
});
