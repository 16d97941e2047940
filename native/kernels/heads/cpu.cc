// Norm and rotation of each head of queries and keys in one pass over the tokens; the backward takes one pass
// too.
#include <cstring>

#include "kernels/cpu/partial_sums.h"
#include "kernels/cpu/simd.h"
#include "kernels/heads/versions.h"

namespace gradcache::kernels::cpu {

namespace {

template <class T>
struct Arguments {
  const T* qkv;  // before the norms; null without norms
  T* rows;       // the prepared rows, or their gradient
  int64_t width;
  HeadLayout layout;
  const T *query, *key;  // scales of the norms, or null
  T epsilon, offset;
  const T *cosines, *sines;  // or null
  const int64_t* positions;
  int64_t pairs;

  GRADCACHE_INLINE const T* scaleOf(int64_t head) const { return head < layout.queries ? query : key; }
};

template <class T>
GRADCACHE_INLINE void turn(const Arguments<T>& a, int64_t t, T* head, T sign) {
  const T *cosines = a.cosines + a.positions[t] * a.pairs, *sines = a.sines + a.positions[t] * a.pairs;
  for (int64_t c = 0; c < a.pairs; ++c) {
    const T first = head[c], second = head[c + a.pairs], sine = sign * sines[c];
    head[c] = first * cosines[c] - second * sine;
    head[c + a.pairs] = second * cosines[c] + first * sine;
  }
}

template <class T>
GRADCACHE_INLINE T inverseRoot(const T* head, int64_t size, T epsilon) {
  T squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t c = 0; c < size; ++c) squares += head[c] * head[c];
  return T(1) / std::sqrt(squares / static_cast<T>(size) + epsilon);
}

template <class T>
GRADCACHE_INLINE void forwardRows(const Arguments<T>& a, int64_t begin, int64_t end) {
  const int64_t size = a.layout.size, heads = a.layout.queries + a.layout.keys;
  for (int64_t t = begin; t < end; ++t) {
    T* row = a.rows + t * a.width;
    if (a.qkv) std::memcpy(row, a.qkv + t * a.width, static_cast<size_t>(a.width) * sizeof(T));
    for (int64_t h = 0; h < heads; ++h) {
      T* head = row + h * size;
      if (a.qkv) {
        const T inverse = inverseRoot(head, size, a.epsilon);
        const T* scale = a.scaleOf(h);
        for (int64_t c = 0; c < size; ++c) head[c] = head[c] * inverse * (scale[c] + a.offset);
      }
      if (a.cosines) turn(a, t, head, T(1));
    }
  }
}

// `sums` [2, size] gets the gradients of the norms' scales.
template <class T>
GRADCACHE_INLINE void backwardRows(const Arguments<T>& a, int64_t begin, int64_t end, T* sums) {
  const int64_t size = a.layout.size, heads = a.layout.queries + a.layout.keys;
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      T* gradient = a.rows + t * a.width + h * size;
      if (a.cosines) turn(a, t, gradient, T(-1));
      if (!a.qkv) continue;
      const T* head = a.qkv + t * a.width + h * size;
      const T inverse = inverseRoot(head, size, a.epsilon);
      const T* scale = a.scaleOf(h);
      T* sum = sums + (h < a.layout.queries ? 0 : size);
      T along = 0;
#pragma omp simd reduction(+ : along)
      for (int64_t c = 0; c < size; ++c) along += gradient[c] * (scale[c] + a.offset) * head[c];
      along *= inverse / static_cast<T>(size);
      for (int64_t c = 0; c < size; ++c) {
        const T normal = head[c] * inverse;
        sum[c] += gradient[c] * normal;
        gradient[c] = inverse * (gradient[c] * (scale[c] + a.offset) - normal * along);
      }
    }
  }
}

GRADCACHE_CLONES void forwardRange(const Arguments<float>& a, int64_t begin, int64_t end) {
  forwardRows(a, begin, end);
}
GRADCACHE_CLONES void forwardRange(const Arguments<double>& a, int64_t begin, int64_t end) {
  forwardRows(a, begin, end);
}
GRADCACHE_CLONES void backwardRange(const Arguments<float>& a, int64_t begin, int64_t end, float* sums) {
  backwardRows(a, begin, end, sums);
}
GRADCACHE_CLONES void backwardRange(const Arguments<double>& a, int64_t begin, int64_t end, double* sums) {
  backwardRows(a, begin, end, sums);
}

template <class T>
Arguments<T> arguments(const at::Tensor& qkv, const at::Tensor& rows, const HeadLayout& layout,
                       const HeadNorms& norms, const Rotation& rotation) {
  Arguments<T> a{};
  a.rows = rows.mutable_data_ptr<T>();
  a.width = rows.size(1);
  a.layout = layout;
  if (norms.any()) {
    a.qkv = qkv.const_data_ptr<T>();
    a.query = norms.query.const_data_ptr<T>();
    a.key = norms.key.const_data_ptr<T>();
    a.epsilon = static_cast<T>(norms.epsilon);
    a.offset = static_cast<T>(norms.offset);
  }
  if (rotation.any()) {
    a.cosines = rotation.cosines.const_data_ptr<T>();
    a.sines = rotation.sines.const_data_ptr<T>();
    a.positions = rotation.positions.const_data_ptr<int64_t>();
    a.pairs = rotation.cosines.size(1);
  }
  return a;
}

template <class T>
at::Tensor forward(const at::Tensor& qkv, const HeadLayout& layout, const HeadNorms& norms,
                   const Rotation& rotation) {
  const at::Tensor rows = norms.any() ? at::empty_like(qkv) : qkv;
  const Arguments<T> a = arguments<T>(qkv, rows, layout, norms, rotation);
  at::parallel_for(0, rows.size(0), 16, [&](int64_t begin, int64_t end) { forwardRange(a, begin, end); });
  return rows;
}

template <class T>
at::Tensor backward(const at::Tensor& dprepared, const at::Tensor& qkv, const HeadLayout& layout,
                    const HeadNorms& norms, const Rotation& rotation, const at::Tensor& queryGradient,
                    const at::Tensor& keyGradient) {
  const Arguments<T> a = arguments<T>(qkv, dprepared, layout, norms, rotation);
  const auto sums = sumOverTokens<T>(
      dprepared.size(0), 2 * layout.size,
      [&](int64_t begin, int64_t end, T* partial) { backwardRange(a, begin, end, partial); });
  if (queryGradient.defined()) addTo(queryGradient, sums.data());
  if (keyGradient.defined()) addTo(keyGradient, sums.data() + layout.size);
  return dprepared;
}

}  // namespace

HeadRows preparedHeads(const at::Tensor& qkv, const HeadLayout& layout, const HeadNorms& norms,
                       const Rotation& rotation) {
  const at::Tensor rows = qkv.scalar_type() == at::kFloat ? forward<float>(qkv, layout, norms, rotation)
                                                          : forward<double>(qkv, layout, norms, rotation);
  return HeadRows::in(rows, layout.valueColumns());
}

at::Tensor preparedHeadsBackward(const at::Tensor& dprepared, const at::Tensor& qkv, const HeadLayout& layout,
                                 const HeadNorms& norms, const Rotation& rotation,
                                 const at::Tensor& queryGradient, const at::Tensor& keyGradient) {
  return dprepared.scalar_type() == at::kFloat
             ? backward<float>(dprepared, qkv, layout, norms, rotation, queryGradient, keyGradient)
             : backward<double>(dprepared, qkv, layout, norms, rotation, queryGradient, keyGradient);
}

}  // namespace gradcache::kernels::cpu
