#include "kernels/rows/versions.h"

namespace gradcache::kernels::composite {

void addColumnSum(const at::Tensor& gradient, const at::Tensor& rows) {
  gradient.add_(at::sum(rows, {0}, false, gradient.scalar_type()));
}

void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& rows) {
  // Only CUDA comes here, where this sorts: the order of the additions, and so every bit, is the same each
  // time.
  table.index_put_({indices}, rows.to(table.scalar_type()), /*accumulate=*/true);
}

}  // namespace gradcache::kernels::composite
