// What the CPU kernels share: one source compiled for several instruction sets, and arithmetic that
// vectorises.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/dropout_key.h"

// The function is compiled for AVX-512, AVX2 and plain x86-64; the loader picks by processor. Everything it
// calls must be inlined into it (GRADCACHE_INLINE), or it would run as plain x86-64.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define GRADCACHE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define GRADCACHE_CLONES
#endif

namespace gradcache::kernels::cpu {

// e^x to 1 unit in the last place for x <= 0 and to 2 for others (Cephes' polynomial); branch-free, so a loop
// over it vectorises where std::exp would not.
GRADCACHE_INLINE float exponential(float x) {
  x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  float scaled = x * 1.44269504088896341f;
  int32_t n = static_cast<int32_t>(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
  float whole = static_cast<float>(n);
  float r = x - whole * 0.693359375f;
  r = r + whole * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t exponent = (n + 127) << 23;
  float power;
  std::memcpy(&power, &exponent, sizeof power);
  return p * power;
}

// The same of float64, to 2 units in the last place: Taylor's series, whose last term is below one of them.
GRADCACHE_INLINE double exponential(double x) {
  x = x < -708.0 ? -708.0 : (x > 709.0 ? 709.0 : x);
  constexpr double kShift = 0x1.8p52;  // a sum with it is rounded to a whole number, held by its low bits
  const double shifted = x * 1.4426950408889634 + kShift;
  const double whole = shifted - kShift;
  double r = x - whole * 6.93145751953125e-1;
  r = r - whole * 1.42860682030941723212e-6;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r * r + r + 1.0;
  uint64_t exponent;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  exponent = (exponent + 1023) << 52;
  double power;
  std::memcpy(&power, &exponent, sizeof power);
  return p * power;
}

template <class T>
GRADCACHE_INLINE T hyperbolicTangent(T x) {
  const T e = exponential(T(-2) * (x < 0 ? -x : x));
  const T magnitude = (T(1) - e) / (T(1) + e);
  return x < 0 ? -magnitude : magnitude;
}

// The keep factors (0 or scale) of one row's columns.
template <class T>
GRADCACHE_INLINE void dropoutFactors(const DropoutKey& key, uint32_t row, int64_t columns, T* factors) {
  const uint32_t start = dropoutRow(key, row);
  const uint32_t threshold = key.threshold;
  const T scale = static_cast<T>(key.scale);
  const int64_t pairs = columns / 2;
  for (int64_t c = 0; c < pairs; ++c) {
    const uint32_t bits = dropoutPair(start, static_cast<uint32_t>(c));
    factors[2 * c] = (bits & 0xffffu) >= threshold ? scale : T(0);
    factors[2 * c + 1] = (bits >> 16) >= threshold ? scale : T(0);
  }
  if (columns & 1) {
    const uint32_t bits = dropoutPair(start, static_cast<uint32_t>(pairs));
    factors[columns - 1] = (bits & 0xffffu) >= threshold ? scale : T(0);
  }
}

// ---- small products

// C[M, N] = A[M, K] B[K, N], or C += with Add, with any strides on A; rows of B and C are contiguous.

template <class T>
struct Lanes {
  static constexpr int64_t count = 64 / static_cast<int64_t>(sizeof(T));
  typedef T Vector __attribute__((vector_size(64), aligned(alignof(T)), may_alias));
};

template <class T, int Rows, bool Add>
GRADCACHE_INLINE void productTile(int64_t depth, const T* a, int64_t rowStride, int64_t depthStride,
                                  const T* b, int64_t bStride, T* c, int64_t cStride) {
  using Vector = typename Lanes<T>::Vector;
  Vector sums[Rows] = {};
  if constexpr (Add) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) sums[r] = *reinterpret_cast<const Vector*>(c + r * cStride);
  }
  for (int64_t k = 0; k < depth; ++k) {
    const Vector bv = *reinterpret_cast<const Vector*>(b + k * bStride);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) sums[r] += a[r * rowStride + k * depthStride] * bv;
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) *reinterpret_cast<Vector*>(c + r * cStride) = sums[r];
}

template <bool Add = false, class T>
GRADCACHE_INLINE void product(int64_t rows, int64_t columns, int64_t depth, const T* a, int64_t rowStride,
                              int64_t depthStride, const T* b, int64_t bStride, T* c, int64_t cStride) {
  constexpr int64_t lanes = Lanes<T>::count;
  int64_t n = 0;
  for (; n + lanes <= columns; n += lanes) {
    int64_t m = 0;
    for (; m + 8 <= rows; m += 8) {
      productTile<T, 8, Add>(depth, a + m * rowStride, rowStride, depthStride, b + n, bStride,
                             c + m * cStride + n, cStride);
    }
    for (; m + 2 <= rows; m += 2) {
      productTile<T, 2, Add>(depth, a + m * rowStride, rowStride, depthStride, b + n, bStride,
                             c + m * cStride + n, cStride);
    }
    for (; m < rows; ++m) {
      productTile<T, 1, Add>(depth, a + m * rowStride, rowStride, depthStride, b + n, bStride,
                             c + m * cStride + n, cStride);
    }
  }
  if (n == columns) return;
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t j = n; j < columns; ++j) {
      T sum = Add ? c[m * cStride + j] : T(0);
      for (int64_t k = 0; k < depth; ++k) sum += a[m * rowStride + k * depthStride] * b[k * bStride + j];
      c[m * cStride + j] = sum;
    }
  }
}

}  // namespace gradcache::kernels::cpu
