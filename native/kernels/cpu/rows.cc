// Dropout by itself, and adding rows into a table.
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/simd.h"

#include <ATen/Parallel.h>

#include <vector>

namespace gradcache::kernels::cpu {

namespace {

template <class T>
GRADCACHE_INLINE void dropRows(const T* x, T* y, int64_t begin, int64_t end, int64_t width,
                               const DropoutKey& key, T* factors) {
  for (int64_t t = begin; t < end; ++t) {
    dropoutFactors(key, static_cast<uint32_t>(t), width, factors);
    for (int64_t c = 0; c < width; ++c) y[t * width + c] = x[t * width + c] * factors[c];
  }
}

GRADCACHE_CLONES void dropRange(const float* x, float* y, int64_t begin, int64_t end, int64_t width,
                                const DropoutKey& key, float* factors) {
  dropRows(x, y, begin, end, width, key, factors);
}
GRADCACHE_CLONES void dropRange(const double* x, double* y, int64_t begin, int64_t end, int64_t width,
                                const DropoutKey& key, double* factors) {
  dropRows(x, y, begin, end, width, key, factors);
}

template <class T>
at::Tensor drop(const at::Tensor& x, const DropoutKey& key) {
  at::Tensor y = at::empty_like(x);
  const int64_t width = x.size(1);
  at::parallel_for(0, x.size(0), 16, [&](int64_t begin, int64_t end) {
    std::vector<T> factors(static_cast<size_t>(width));
    dropRange(x.const_data_ptr<T>(), y.mutable_data_ptr<T>(), begin, end, width, key, factors.data());
  });
  return y;
}

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

at::Tensor dropout(const at::Tensor& x, const DropoutKey& key) {
  at::Tensor rows = x.contiguous();
  return x.scalar_type() == at::kFloat ? drop<float>(rows, key) : drop<double>(rows, key);
}

void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& rows) {
  at::Tensor contiguous = rows.contiguous();
  if (rows.scalar_type() == at::kFloat) {
    add<float>(table, indices, contiguous);
  } else {
    add<double>(table, indices, contiguous);
  }
}

}  // namespace gradcache::kernels::cpu
