import { noGrad } from './autograd.js';
import { call } from './operators.js';
import { Tensor } from './tensor.js';

/** Writes representations into their places: target[rows[k]] = source[k]. */
export function putRows(target: Tensor, rows: Int32Array, source: Tensor): void {
  noGrad(() => {
    const index = Tensor.from(rows, { dtype: 'int64', device: target.device });
    call('aten::index_copy_', target, 0, index, source).dispose();
    index.dispose();
  });
}
