// Attention over packed sequences, one sequence and head at a time: the matrices stay in the cache, and
// padding only fills vectors. Backward recomputes the probabilities.
#include <ATen/Parallel.h>

#include <limits>
#include <vector>

#include "kernels/attention/versions.h"
#include "kernels/cpu/simd.h"

namespace gradcache::kernels::cpu {

namespace {

template <class T>
struct Arguments {
  const T* qkv;
  T* out;         // forward only
  T* normalizer;  // [heads, tokens]
  const T *dout, *savedOut;
  T* dqkv;
  const T* distanceBias;  // [heads, 2 * longest - 1] or null
  T* distanceBiasGradient;
  int64_t tokens, heads, size, longest;  // size: of one head
  T scale;
  DropoutKey key;
};

// Rows of scratch are padded to whole vectors.
template <class T>
GRADCACHE_INLINE int64_t padded(int64_t length) {
  constexpr int64_t lanes = Lanes<T>::count;
  return (length + lanes - 1) / lanes * lanes;
}

// target [size, stride] = source [length, size] transposed, zeros behind the length.
template <class T>
GRADCACHE_INLINE void transpose(const T* source, int64_t sourceStride, int64_t length, int64_t size,
                                T* target, int64_t stride) {
  for (int64_t c = 0; c < size; ++c) {
    for (int64_t t = 0; t < length; ++t) target[c * stride + t] = source[t * sourceStride + c];
    for (int64_t t = length; t < stride; ++t) target[c * stride + t] = T(0);
  }
}

// scores = scale * q k^T + bias, for query rows of `stride` columns each.
template <class T>
GRADCACHE_INLINE void scoreRows(const Arguments<T>& a, int64_t begin, int64_t length, int64_t head, T* scores,
                                T* transposed, int64_t stride) {
  const int64_t hidden = a.heads * a.size;
  const T* q = a.qkv + begin * 3 * hidden + head * a.size;
  transpose(q + hidden, 3 * hidden, length, a.size, transposed, stride);
  product(length, stride, a.size, q, 3 * hidden, int64_t{1}, transposed, stride, scores, stride);
  for (int64_t i = 0; i < length; ++i) {
    T* row = scores + i * stride;
    for (int64_t j = 0; j < length; ++j) row[j] *= a.scale;
    if (a.distanceBias) {
      const T* bias = a.distanceBias + head * (2 * a.longest - 1) + a.longest - 1 - i;
      for (int64_t j = 0; j < length; ++j) row[j] += bias[j];
    }
  }
}

// `work` holds a square of scores, a transposed head and a row of factors.
template <class T>
GRADCACHE_INLINE void forwardHead(const Arguments<T>& a, int64_t begin, int64_t length, int64_t head,
                                  T* work) {
  const int64_t hidden = a.heads * a.size, stride = padded<T>(length);
  T* scores = work;
  T* transposed = scores + length * stride;
  T* factors = transposed + a.size * stride;
  scoreRows(a, begin, length, head, scores, transposed, stride);
  for (int64_t i = 0; i < length; ++i) {
    T* row = scores + i * stride;
    T largest = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : largest)
    for (int64_t j = 0; j < length; ++j) largest = row[j] > largest ? row[j] : largest;
    T total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < length; ++j) {
      row[j] = exponential(row[j] - largest);
      total += row[j];
    }
    a.normalizer[head * a.tokens + begin + i] = largest + std::log(total);
    const T inverse = T(1) / total;
    if (a.key.active()) {
      dropoutFactors(a.key, static_cast<uint32_t>((begin + i) * a.heads + head), length, factors);
      for (int64_t j = 0; j < length; ++j) row[j] *= inverse * factors[j];
    } else {
      for (int64_t j = 0; j < length; ++j) row[j] *= inverse;
    }
  }
  const T* v = a.qkv + begin * 3 * hidden + 2 * hidden + head * a.size;
  product(length, a.size, length, scores, stride, int64_t{1}, v, 3 * hidden,
          a.out + begin * hidden + head * a.size, hidden);
}

// `work` holds two squares, a transposed head and a row of factors.
template <class T>
GRADCACHE_INLINE void backwardHead(const Arguments<T>& a, int64_t begin, int64_t length, int64_t head,
                                   T* work) {
  const int64_t hidden = a.heads * a.size, stride = padded<T>(length);
  T* dropped = work;  // scores first, then the probabilities behind the dropout
  T* dscores = dropped + length * stride;
  T* transposed = dscores + length * stride;
  T* factors = transposed + a.size * stride;
  const T* q = a.qkv + begin * 3 * hidden + head * a.size;
  const T *k = q + hidden, *v = q + 2 * hidden;
  const T* dout = a.dout + begin * hidden + head * a.size;
  const T* out = a.savedOut + begin * hidden + head * a.size;
  scoreRows(a, begin, length, head, dropped, transposed, stride);
  transpose(v, 3 * hidden, length, a.size, transposed, stride);
  product(length, stride, a.size, dout, hidden, int64_t{1}, transposed, stride, dscores, stride);
  for (int64_t i = 0; i < length; ++i) {
    T *row = dropped + i * stride, *drow = dscores + i * stride;
    const T normalizer = a.normalizer[head * a.tokens + begin + i];
    // sum_j p_ij dL/dp_ij, which equals dL/dout_i . out_i even with dropout.
    T common = 0;
#pragma omp simd reduction(+ : common)
    for (int64_t c = 0; c < a.size; ++c) common += dout[i * hidden + c] * out[i * hidden + c];
    if (a.key.active()) {
      dropoutFactors(a.key, static_cast<uint32_t>((begin + i) * a.heads + head), length, factors);
      for (int64_t j = 0; j < length; ++j) {
        const T p = exponential(row[j] - normalizer);
        row[j] = p * factors[j];
        drow[j] = p * (drow[j] * factors[j] - common);
      }
    } else {
      for (int64_t j = 0; j < length; ++j) {
        const T p = exponential(row[j] - normalizer);
        row[j] = p;
        drow[j] = p * (drow[j] - common);
      }
    }
    if (a.distanceBiasGradient) {
      T* bias = a.distanceBiasGradient + head * (2 * a.longest - 1) + a.longest - 1 - i;
      for (int64_t j = 0; j < length; ++j) bias[j] += drow[j];
    }
    for (int64_t j = 0; j < length; ++j) drow[j] *= a.scale;
  }
  T* dq = a.dqkv + begin * 3 * hidden + head * a.size;
  product(length, a.size, length, dscores, stride, int64_t{1}, k, 3 * hidden, dq, 3 * hidden);
  product(length, a.size, length, dscores, int64_t{1}, stride, q, 3 * hidden, dq + hidden, 3 * hidden);
  product(length, a.size, length, dropped, int64_t{1}, stride, dout, hidden, dq + 2 * hidden, 3 * hidden);
}

GRADCACHE_CLONES void forwardOne(const Arguments<float>& a, int64_t begin, int64_t length, int64_t head,
                                 float* work) {
  forwardHead(a, begin, length, head, work);
}
GRADCACHE_CLONES void forwardOne(const Arguments<double>& a, int64_t begin, int64_t length, int64_t head,
                                 double* work) {
  forwardHead(a, begin, length, head, work);
}
GRADCACHE_CLONES void backwardOne(const Arguments<float>& a, int64_t begin, int64_t length, int64_t head,
                                  float* work) {
  backwardHead(a, begin, length, head, work);
}
GRADCACHE_CLONES void backwardOne(const Arguments<double>& a, int64_t begin, int64_t length, int64_t head,
                                  double* work) {
  backwardHead(a, begin, length, head, work);
}

template <class T>
Arguments<T> arguments(const at::Tensor& qkv, const Sequences& sequences, int64_t heads,
                       const at::Tensor& distanceBias, const DropoutKey& key) {
  Arguments<T> a{};
  a.qkv = qkv.const_data_ptr<T>();
  a.distanceBias = distanceBias.defined() ? distanceBias.const_data_ptr<T>() : nullptr;
  a.tokens = qkv.size(0);
  a.heads = heads;
  a.size = qkv.size(1) / 3 / heads;
  a.longest = sequences.longest;
  a.scale = T(1) / std::sqrt(static_cast<T>(a.size));
  a.key = key;
  return a;
}

template <class T>
size_t workSize(const Arguments<T>& a) {
  const int64_t stride = padded<T>(a.longest);
  return static_cast<size_t>(2 * a.longest * stride + (a.size + 1) * stride);
}

template <class T>
Attention forward(const at::Tensor& qkv, const Sequences& sequences, int64_t heads,
                  const at::Tensor& distanceBias, const DropoutKey& key) {
  Attention result{at::empty({qkv.size(0), qkv.size(1) / 3}, qkv.options()),
                   at::empty({heads, qkv.size(0)}, qkv.options())};
  Arguments<T> a = arguments<T>(qkv, sequences, heads, distanceBias, key);
  a.out = result.out.mutable_data_ptr<T>();
  a.normalizer = result.normalizer.mutable_data_ptr<T>();
  const int64_t n = static_cast<int64_t>(sequences.offsets.size()) - 1;
  at::parallel_for(0, n * heads, 1, [&](int64_t first, int64_t last) {
    std::vector<T> work(workSize(a));
    for (int64_t k = first; k < last; ++k) {
      const int64_t s = k / heads;
      forwardOne(a, sequences.offsets[s], sequences.offsets[s + 1] - sequences.offsets[s], k % heads,
                 work.data());
    }
  });
  return result;
}

template <class T>
at::Tensor backward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                    const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                    const DropoutKey& key, const at::Tensor& distanceBiasGradient) {
  at::Tensor dqkv = at::empty_like(qkv);
  Arguments<T> a = arguments<T>(qkv, sequences, heads, distanceBias, key);
  a.normalizer = const_cast<T*>(saved.normalizer.const_data_ptr<T>());  // read only in backward
  a.dout = dout.const_data_ptr<T>();
  a.savedOut = saved.out.const_data_ptr<T>();
  a.dqkv = dqkv.mutable_data_ptr<T>();
  a.distanceBiasGradient =
      distanceBiasGradient.defined() ? distanceBiasGradient.mutable_data_ptr<T>() : nullptr;
  const int64_t n = static_cast<int64_t>(sequences.offsets.size()) - 1;
  // The gradient of the distance bias adds up over sequences: one thread takes all of a head's, in order.
  const int64_t grain = a.distanceBiasGradient ? n : 1;
  at::parallel_for(0, n * heads / grain, 1, [&](int64_t first, int64_t last) {
    std::vector<T> work(workSize(a));
    for (int64_t k = first * grain; k < last * grain; ++k) {
      const int64_t s = k % n, head = k / n;
      backwardOne(a, sequences.offsets[s], sequences.offsets[s + 1] - sequences.offsets[s], head,
                  work.data());
    }
  });
  return dqkv;
}

}  // namespace

Attention attention(const at::Tensor& qkv, const Sequences& sequences, int64_t heads,
                    const at::Tensor& distanceBias, const DropoutKey& key) {
  return qkv.scalar_type() == at::kFloat ? forward<float>(qkv, sequences, heads, distanceBias, key)
                                         : forward<double>(qkv, sequences, heads, distanceBias, key);
}

at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                             const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                             const DropoutKey& key, const at::Tensor& distanceBiasGradient) {
  at::Tensor rows = dout.contiguous();
  return qkv.scalar_type() == at::kFloat
             ? backward<float>(rows, qkv, saved, sequences, heads, distanceBias, key, distanceBiasGradient)
             : backward<double>(rows, qkv, saved, sequences, heads, distanceBias, key, distanceBiasGradient);
}

}  // namespace gradcache::kernels::cpu
