// Pooling and the normalisation behind it, a sequence at a time: its tokens are read once, its row stays in
// the cache.
#include <ATen/Parallel.h>

#include <vector>

#include "kernels/cpu/simd.h"
#include "kernels/pool/versions.h"

namespace gradcache::kernels::cpu {

namespace {

template <class T>
struct ForwardArguments {
  const T* x;
  const int64_t* offsets;
  T *y, *norms;     // norms is null where nothing is normalised
  int32_t* argmax;  // of kMax
  int64_t width;
  Pooling pooling;
};

// The range of tokens that a row is the mean of, except for max pooling; cls and last have one token.
struct Range {
  int64_t begin, end;

  GRADCACHE_INLINE static Range of(Pooling pooling, const int64_t* offsets, int64_t sequence) {
    const int64_t begin = offsets[sequence], end = offsets[sequence + 1];
    return {pooling == Pooling::kLast ? end - 1 : begin, pooling == Pooling::kCls ? begin + 1 : end};
  }
};

template <class T>
GRADCACHE_INLINE void mean(const T* x, Range tokens, int64_t width, T* __restrict y) {
  std::memcpy(y, x + tokens.begin * width, static_cast<size_t>(width) * sizeof(T));
  for (int64_t t = tokens.begin + 1; t < tokens.end; ++t) {
    const T* row = x + t * width;
    for (int64_t c = 0; c < width; ++c) y[c] += row[c];
  }
  const T count = static_cast<T>(tokens.end - tokens.begin);
  for (int64_t c = 0; c < width; ++c) y[c] /= count;
}

template <class T>
GRADCACHE_INLINE void largest(const T* x, Range tokens, int64_t width, T* __restrict y,
                              int32_t* __restrict argmax) {
  std::memcpy(y, x + tokens.begin * width, static_cast<size_t>(width) * sizeof(T));
  for (int64_t c = 0; c < width; ++c) argmax[c] = static_cast<int32_t>(tokens.begin);
  for (int64_t t = tokens.begin + 1; t < tokens.end; ++t) {
    const T* row = x + t * width;
    for (int64_t c = 0; c < width; ++c) {
      // NaN is neither at most y nor, once it is y, equal to itself.
      const bool larger = !(row[c] <= y[c]) & (y[c] == y[c]);
      y[c] = larger ? row[c] : y[c];
      argmax[c] = larger ? static_cast<int32_t>(t) : argmax[c];
    }
  }
}

template <class T>
GRADCACHE_INLINE T atLeast(T norm) {
  return norm < static_cast<T>(kLeastNorm) ? static_cast<T>(kLeastNorm) : norm;
}

template <class T>
GRADCACHE_INLINE void forwardSequences(const ForwardArguments<T>& a, int64_t first, int64_t last) {
  for (int64_t s = first; s < last; ++s) {
    const Range tokens = Range::of(a.pooling, a.offsets, s);
    T* y = a.y + s * a.width;
    if (a.pooling == Pooling::kMax) {
      largest(a.x, tokens, a.width, y, a.argmax + s * a.width);
    } else {
      mean(a.x, tokens, a.width, y);
    }
    if (!a.norms) continue;
    T squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t c = 0; c < a.width; ++c) squares += y[c] * y[c];
    a.norms[s] = std::sqrt(squares);
    const T norm = atLeast(a.norms[s]);
    for (int64_t c = 0; c < a.width; ++c) y[c] /= norm;
  }
}

GRADCACHE_CLONES void forwardRange(const ForwardArguments<float>& a, int64_t first, int64_t last) {
  forwardSequences(a, first, last);
}
GRADCACHE_CLONES void forwardRange(const ForwardArguments<double>& a, int64_t first, int64_t last) {
  forwardSequences(a, first, last);
}

template <class T>
struct BackwardArguments {
  const T *dy, *y, *norms;  // y and norms are null where nothing was normalised
  const int32_t* argmax;    // of kMax
  const int64_t* offsets;
  T* dx;
  int64_t width;
  Pooling pooling;
};

// `gradient` is a scratch row: what each token of the range, or each maximum, gets.
template <class T>
GRADCACHE_INLINE void backwardSequences(const BackwardArguments<T>& a, int64_t first, int64_t last,
                                        T* __restrict gradient) {
  const int64_t width = a.width;
  const size_t rowBytes = static_cast<size_t>(width) * sizeof(T);
  for (int64_t s = first; s < last; ++s) {
    const T* dy = a.dy + s * width;
    if (a.norms) {
      const T* y = a.y + s * width;
      T along = 0;
#pragma omp simd reduction(+ : along)
      for (int64_t c = 0; c < width; ++c) along += dy[c] * y[c];
      const T norm = atLeast(a.norms[s]);
      // A norm below the least was replaced by a constant, so it has no gradient.
      if (a.norms[s] < norm) along = 0;
      for (int64_t c = 0; c < width; ++c) gradient[c] = (dy[c] - along * y[c]) / norm;
    } else {
      std::memcpy(gradient, dy, rowBytes);
    }
    const int64_t begin = a.offsets[s], end = a.offsets[s + 1];
    if (a.pooling == Pooling::kMax) {
      const int32_t* argmax = a.argmax + s * width;
      std::memset(a.dx + begin * width, 0, static_cast<size_t>(end - begin) * rowBytes);
      for (int64_t c = 0; c < width; ++c) a.dx[argmax[c] * width + c] = gradient[c];
      continue;
    }
    const Range tokens = Range::of(a.pooling, a.offsets, s);
    const T count = static_cast<T>(tokens.end - tokens.begin);
    for (int64_t c = 0; c < width; ++c) gradient[c] /= count;
    for (int64_t t = begin; t < end; ++t) {
      if (t >= tokens.begin && t < tokens.end) {
        std::memcpy(a.dx + t * width, gradient, rowBytes);
      } else {
        std::memset(a.dx + t * width, 0, rowBytes);
      }
    }
  }
}

GRADCACHE_CLONES void backwardRange(const BackwardArguments<float>& a, int64_t first, int64_t last,
                                    float* gradient) {
  backwardSequences(a, first, last, gradient);
}
GRADCACHE_CLONES void backwardRange(const BackwardArguments<double>& a, int64_t first, int64_t last,
                                    double* gradient) {
  backwardSequences(a, first, last, gradient);
}

template <class T>
Pooled forward(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize) {
  const int64_t n = static_cast<int64_t>(sequences.offsets.size()) - 1, width = x.size(1);
  Pooled result;
  result.y = at::empty({n, width}, x.options());
  if (normalize) result.norms = at::empty({n}, x.options());
  if (pooling == Pooling::kMax) result.argmax = at::empty({n, width}, x.options().dtype(at::kInt));
  const ForwardArguments<T> a{x.const_data_ptr<T>(),
                              sequences.offsets.data(),
                              result.y.mutable_data_ptr<T>(),
                              normalize ? result.norms.mutable_data_ptr<T>() : nullptr,
                              pooling == Pooling::kMax ? result.argmax.mutable_data_ptr<int32_t>() : nullptr,
                              width,
                              pooling};
  at::parallel_for(0, n, 1, [&](int64_t first, int64_t last) { forwardRange(a, first, last); });
  return result;
}

template <class T>
at::Tensor backward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences, Pooling pooling) {
  const int64_t n = dy.size(0), width = dy.size(1);
  at::Tensor dx = at::empty({sequences.offsets.back(), width}, dy.options());
  const bool normalized = saved.norms.defined();
  const BackwardArguments<T> a{dy.const_data_ptr<T>(),
                               normalized ? saved.y.const_data_ptr<T>() : nullptr,
                               normalized ? saved.norms.const_data_ptr<T>() : nullptr,
                               pooling == Pooling::kMax ? saved.argmax.const_data_ptr<int32_t>() : nullptr,
                               sequences.offsets.data(),
                               dx.mutable_data_ptr<T>(),
                               width,
                               pooling};
  at::parallel_for(0, n, 1, [&](int64_t first, int64_t last) {
    std::vector<T> gradient(static_cast<size_t>(width));
    backwardRange(a, first, last, gradient.data());
  });
  return dx;
}

}  // namespace

Pooled pool(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize) {
  return x.scalar_type() == at::kFloat ? forward<float>(x, sequences, pooling, normalize)
                                       : forward<double>(x, sequences, pooling, normalize);
}

at::Tensor poolBackward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences,
                        Pooling pooling) {
  at::Tensor rows = dy.contiguous();
  return dy.scalar_type() == at::kFloat ? backward<float>(rows, saved, sequences, pooling)
                                        : backward<double>(rows, saved, sequences, pooling);
}

}  // namespace gradcache::kernels::cpu
