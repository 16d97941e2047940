import { guarded, native } from '../addon/native.js';
import { Tensor } from './tensor.js';

/** Writes representations into their places: target[rows[k]] = source[k]. */
export function putRows(target: Tensor, rows: Int32Array, source: Tensor): void {
  guarded(() => {
    native().putRows(target.handle, rows, source.handle);
  });
}

/** A copy of some rows of a tensor, in the order given. */
export function takeRows(source: Tensor, rows: Int32Array): Tensor {
  return new Tensor(guarded(() => native().takeRows(source.handle, rows)));
}
