#include <ATen/Parallel.h>

#include <vector>

#include "kernels/cpu/simd.h"
#include "kernels/dropout/versions.h"

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

}  // namespace

at::Tensor dropout(const at::Tensor& x, const DropoutKey& key) {
  at::Tensor rows = x.contiguous();
  return x.scalar_type() == at::kFloat ? drop<float>(rows, key) : drop<double>(rows, key);
}

}  // namespace gradcache::kernels::cpu
