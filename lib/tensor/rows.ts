import { noGrad } from './autograd.js';
import { call } from './operators.js';
import { Tensor } from './tensor.js';

/** Writes representations into their places: target[rows[k]] = source[k]. */
export function putRows(target: Tensor, rows: Int32Array, source: Tensor): void {
  withIndex(rows, target.device, (index) => {
    noGrad(() => {
      call('aten::index_copy_', target, 0, index, source).dispose();
    });
  });
}

/** A copy of some rows of a tensor, in the order given. */
export function takeRows(source: Tensor, rows: Int32Array): Tensor {
  return withIndex(rows, source.device, (index) => source.indexSelect(0, index));
}

function withIndex<T>(rows: Int32Array, device: string, use: (index: Tensor) => T): T {
  const index = Tensor.from(rows, { dtype: 'int64', device });
  try {
    return use(index);
  } finally {
    index.dispose();
  }
}
