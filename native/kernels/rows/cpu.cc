#include <ATen/Parallel.h>

#include "kernels/rows/versions.h"

namespace gradcache::kernels::cpu {

namespace {

// Each thread owns a range of columns and walks all rows in order, so no two threads meet and the order is
// fixed.
template <class T>
void add(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& rows) {
  const int64_t width = table.size(1), count = indices.numel();
  T* tableData = table.mutable_data_ptr<T>();
  const int64_t* index = indices.const_data_ptr<int64_t>();
  const T* rowData = rows.const_data_ptr<T>();
  at::parallel_for(0, width, 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < count; ++t) {
      T* to = tableData + index[t] * width;
      const T* from = rowData + t * width;
      for (int64_t c = begin; c < end; ++c) to[c] += from[c];
    }
  });
}

}  // namespace

void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& rows) {
  at::Tensor contiguous = rows.contiguous();
  if (rows.scalar_type() == at::kFloat) {
    add<float>(table, indices, contiguous);
  } else {
    add<double>(table, indices, contiguous);
  }
}

}  // namespace gradcache::kernels::cpu
