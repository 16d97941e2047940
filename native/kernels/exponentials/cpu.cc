#include <ATen/Parallel.h>

#include "kernels/cpu/simd.h"
#include "kernels/exponentials/versions.h"

namespace gradcache::kernels::cpu {

namespace {

// Rows that a thread takes at least.
constexpr int64_t kBlock = 16;

template <class T>
GRADCACHE_INLINE void sumRows(T* scores, T* sums, int64_t width, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    T* row = scores + i * width;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < width; ++j) {
      const T e = exponential(row[j]);
      row[j] = e;
      sum += e;
    }
    sums[i] = sum;
  }
}

GRADCACHE_CLONES void sumRange(float* scores, float* sums, int64_t width, int64_t begin, int64_t end) {
  sumRows(scores, sums, width, begin, end);
}
GRADCACHE_CLONES void sumRange(double* scores, double* sums, int64_t width, int64_t begin, int64_t end) {
  sumRows(scores, sums, width, begin, end);
}

// `rows` and `columns` are null where there are none.
template <class T>
GRADCACHE_INLINE void weighRows(T* scores, const T* rows, const T* columns, int64_t width, int64_t begin,
                                int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    T* row = scores + i * width;
    const T factor = rows == nullptr ? T(0) : rows[i];
    if (columns == nullptr) {
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) row[j] = exponential(row[j]) * factor;
    } else {
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) row[j] = exponential(row[j]) * (factor + columns[j]);
    }
  }
}

GRADCACHE_CLONES void weighRange(float* scores, const float* rows, const float* columns, int64_t width,
                                 int64_t begin, int64_t end) {
  weighRows(scores, rows, columns, width, begin, end);
}
GRADCACHE_CLONES void weighRange(double* scores, const double* rows, const double* columns, int64_t width,
                                 int64_t begin, int64_t end) {
  weighRows(scores, rows, columns, width, begin, end);
}

template <class T>
at::Tensor sums(const at::Tensor& scores) {
  at::Tensor result = at::empty({scores.size(0)}, scores.options());
  T *numbers = scores.mutable_data_ptr<T>(), *totals = result.mutable_data_ptr<T>();
  at::parallel_for(0, scores.size(0), kBlock, [&, width = scores.size(1)](int64_t begin, int64_t end) {
    sumRange(numbers, totals, width, begin, end);
  });
  return result;
}

template <class T>
void weigh(const at::Tensor& scores, const at::Tensor& rows, const at::Tensor& columns) {
  T* numbers = scores.mutable_data_ptr<T>();
  const T* ofRows = rows.defined() ? rows.const_data_ptr<T>() : nullptr;
  const T* ofColumns = columns.defined() ? columns.const_data_ptr<T>() : nullptr;
  at::parallel_for(0, scores.size(0), kBlock, [&, width = scores.size(1)](int64_t begin, int64_t end) {
    weighRange(numbers, ofRows, ofColumns, width, begin, end);
  });
}

}  // namespace

at::Tensor exponentials(const at::Tensor& scores) {
  return scores.scalar_type() == at::kFloat ? sums<float>(scores) : sums<double>(scores);
}

void weighedExponentials(const at::Tensor& scores, const at::Tensor& rows, const at::Tensor& columns) {
  if (scores.scalar_type() == at::kFloat) {
    weigh<float>(scores, rows, columns);
  } else {
    weigh<double>(scores, rows, columns);
  }
}

}  // namespace gradcache::kernels::cpu
