// One pass over the numbers, where operators go over them once each.
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "kernels/cosines/versions.h"
#include "kernels/cpu/simd.h"

namespace gradcache::kernels::cpu {

namespace {

// Rows whose sums are added up first, so that sums are the same with any number of threads.
constexpr int64_t kBlock = 64;

template <class T>
struct Forward {
  T* target;
  const T *dots, *rows, *columns;
  T bias;
  int64_t width;
};

template <class T>
GRADCACHE_INLINE void forwardRows(const Forward<T>& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const T row = a.rows[i];
    const T* dots = a.dots + i * a.width;
    T* target = a.target + i * a.width;
#pragma omp simd
    for (int64_t j = 0; j < a.width; ++j) target[j] = dots[j] * (row * a.columns[j]) + a.bias;
  }
}

GRADCACHE_CLONES void forwardRange(const Forward<float>& a, int64_t begin, int64_t end) {
  forwardRows(a, begin, end);
}
GRADCACHE_CLONES void forwardRange(const Forward<double>& a, int64_t begin, int64_t end) {
  forwardRows(a, begin, end);
}

template <class T>
struct Backward {
  T* sum;
  const T *ofCosines, *dots, *rows, *columns;
  T weight;
  bool begins;
  T* ofRows;
  int64_t width;
};

// `ofColumns` are the sums of these rows alone.
template <class T>
GRADCACHE_INLINE void backwardRows(const Backward<T>& a, int64_t begin, int64_t end,
                                   T* __restrict ofColumns) {
  for (int64_t i = begin; i < end; ++i) {
    const T row = a.rows[i] * a.weight;
    const T *gradient = a.ofCosines + i * a.width, *dots = a.dots + i * a.width;
    T* sum = a.sum + i * a.width;
    T lost = 0;
    if (a.begins) {
#pragma omp simd reduction(+ : lost)
      for (int64_t j = 0; j < a.width; ++j) {
        const T ofDot = gradient[j] * (row * a.columns[j]);
        sum[j] = ofDot;
        ofColumns[j] += ofDot * dots[j];
        lost += ofDot * dots[j];
      }
    } else {
#pragma omp simd reduction(+ : lost)
      for (int64_t j = 0; j < a.width; ++j) {
        const T ofDot = gradient[j] * (row * a.columns[j]);
        sum[j] += ofDot;
        ofColumns[j] += ofDot * dots[j];
        lost += ofDot * dots[j];
      }
    }
    a.ofRows[i] = lost;
  }
}

GRADCACHE_CLONES void backwardRange(const Backward<float>& a, int64_t begin, int64_t end, float* ofColumns) {
  backwardRows(a, begin, end, ofColumns);
}
GRADCACHE_CLONES void backwardRange(const Backward<double>& a, int64_t begin, int64_t end,
                                    double* ofColumns) {
  backwardRows(a, begin, end, ofColumns);
}

template <class T>
void forward(const at::Tensor& target, const at::Tensor& dots, const CosineFactors& factors, double bias) {
  const Forward<T> a{
      target.mutable_data_ptr<T>(),        dots.const_data_ptr<T>(), factors.rows.const_data_ptr<T>(),
      factors.columns.const_data_ptr<T>(), static_cast<T>(bias),     dots.size(1)};
  at::parallel_for(0, dots.size(0), kBlock, [&](int64_t begin, int64_t end) { forwardRange(a, begin, end); });
}

template <class T>
at::Tensor backward(const at::Tensor& sum, bool begins, const at::Tensor& ofCosines, const at::Tensor& dots,
                    const CosineFactors& factors, double weight, const at::Tensor& ofColumns) {
  const int64_t rows = dots.size(0), width = dots.size(1), blocks = (rows + kBlock - 1) / kBlock;
  at::Tensor ofRows = at::empty({rows}, dots.options());
  const Backward<T> a{sum.mutable_data_ptr<T>(),
                      ofCosines.const_data_ptr<T>(),
                      dots.const_data_ptr<T>(),
                      factors.rows.const_data_ptr<T>(),
                      factors.columns.const_data_ptr<T>(),
                      static_cast<T>(weight),
                      begins,
                      ofRows.mutable_data_ptr<T>(),
                      width};
  std::vector<T> partial(static_cast<size_t>(blocks * width), T(0));
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block)
      backwardRange(a, block * kBlock, std::min(rows, (block + 1) * kBlock), partial.data() + block * width);
  });
  T* total = ofColumns.mutable_data_ptr<T>();
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t j = 0; j < width; ++j) total[j] += partial[block * width + j];
  return ofRows;
}

}  // namespace

void cosines(const at::Tensor& target, const at::Tensor& dots, const CosineFactors& factors, double bias) {
  if (dots.scalar_type() == at::kFloat) {
    forward<float>(target, dots, factors, bias);
  } else {
    forward<double>(target, dots, factors, bias);
  }
}

at::Tensor addDotGradient(const at::Tensor& sum, bool begins, const at::Tensor& ofCosines,
                          const at::Tensor& dots, const CosineFactors& factors, double weight,
                          const at::Tensor& ofColumns) {
  const at::Tensor gradient = ofCosines.contiguous();
  return dots.scalar_type() == at::kFloat
             ? backward<float>(sum, begins, gradient, dots, factors, weight, ofColumns)
             : backward<double>(sum, begins, gradient, dots, factors, weight, ofColumns);
}

}  // namespace gradcache::kernels::cpu
