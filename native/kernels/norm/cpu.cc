// y = norm(residual + dropout(x + bias)) * (scale + offset) + shift, one pass over the tokens; and its
// backward, one pass too.
#include <type_traits>

#include "kernels/cpu/partial_sums.h"
#include "kernels/cpu/simd.h"
#include "kernels/norm/versions.h"

namespace gradcache::kernels::cpu {

namespace {

template <class T>
struct ForwardArguments {
  const T *x, *bias, *residual, *scale, *shift;
  T *y, *sum, *mean, *rstd;  // sum, mean and rstd may be null
  int64_t width;
  T epsilon, offset;
  bool layer;  // else the mean is taken to be 0
  DropoutKey key;
};

template <class T>
GRADCACHE_INLINE void forwardRows(const ForwardArguments<T>& a, int64_t begin, int64_t end, T* row,
                                  T* factors) {
  for (int64_t t = begin; t < end; ++t) {
    const T* x = a.x + t * a.width;
    if (a.bias) {
      for (int64_t c = 0; c < a.width; ++c) row[c] = x[c] + a.bias[c];
    } else {
      for (int64_t c = 0; c < a.width; ++c) row[c] = x[c];
    }
    if (a.key.active()) {
      dropoutFactors(a.key, static_cast<uint32_t>(t), a.width, factors);
      for (int64_t c = 0; c < a.width; ++c) row[c] *= factors[c];
    }
    if (a.residual) {
      const T* residual = a.residual + t * a.width;
      for (int64_t c = 0; c < a.width; ++c) row[c] += residual[c];
    }
    T total = 0;
    if (a.layer) {
#pragma omp simd reduction(+ : total)
      for (int64_t c = 0; c < a.width; ++c) total += row[c];
    }
    const T mean = total / static_cast<T>(a.width);
    T squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t c = 0; c < a.width; ++c) squares += (row[c] - mean) * (row[c] - mean);
    const T rstd = T(1) / std::sqrt(squares / static_cast<T>(a.width) + a.epsilon);
    T* y = a.y + t * a.width;
    if (a.shift) {
      for (int64_t c = 0; c < a.width; ++c)
        y[c] = (row[c] - mean) * rstd * (a.scale[c] + a.offset) + a.shift[c];
    } else {
      for (int64_t c = 0; c < a.width; ++c) y[c] = (row[c] - mean) * rstd * (a.scale[c] + a.offset);
    }
    if (a.sum) std::memcpy(a.sum + t * a.width, row, static_cast<size_t>(a.width) * sizeof(T));
    if (a.mean) a.mean[t] = mean;
    if (a.rstd) a.rstd[t] = rstd;
  }
}

GRADCACHE_CLONES void forwardRange(const ForwardArguments<float>& a, int64_t begin, int64_t end, float* row,
                                   float* factors) {
  forwardRows(a, begin, end, row, factors);
}
GRADCACHE_CLONES void forwardRange(const ForwardArguments<double>& a, int64_t begin, int64_t end, double* row,
                                   double* factors) {
  forwardRows(a, begin, end, row, factors);
}

template <class T>
struct BackwardArguments {
  const T *dy, *beside, *sum, *mean, *rstd, *scale, *shift;  // beside, mean and shift may be null
  T *dsum, *dx, *y;                                          // dx is dsum where nothing drops out
  int64_t width;
  T offset;
  bool layer;
  DropoutKey key;
};

// `sums` is [3, width]: gradients of scale, shift and bias. `factors` and `normalized` are scratch rows.
template <class T>
GRADCACHE_INLINE void backwardRows(const BackwardArguments<T>& a, int64_t begin, int64_t end, T* sums,
                                   T* normalized, T* factors) {
  const int64_t width = a.width;
  T *scaleSum = sums, *shiftSum = sums + width, *biasSum = sums + 2 * width;
  for (int64_t t = begin; t < end; ++t) {
    const T *dy = a.dy + t * width, *sum = a.sum + t * width;
    const T mean = a.layer ? a.mean[t] : T(0), rstd = a.rstd[t];
    T first = 0, second = 0;
#pragma omp simd reduction(+ : first, second)
    for (int64_t c = 0; c < width; ++c) {
      const T n = (sum[c] - mean) * rstd;
      const T d = dy[c] * (a.scale[c] + a.offset);
      normalized[c] = n;
      first += d;
      second += d * n;
    }
    first = a.layer ? first / static_cast<T>(width) : T(0);
    second /= static_cast<T>(width);
    T* dsum = a.dsum + t * width;
    for (int64_t c = 0; c < width; ++c) {
      const T n = normalized[c];
      scaleSum[c] += dy[c] * n;
      shiftSum[c] += dy[c];
      dsum[c] = rstd * (dy[c] * (a.scale[c] + a.offset) - first - n * second);
    }
    if (a.y) {
      T* y = a.y + t * width;
      for (int64_t c = 0; c < width; ++c) y[c] = normalized[c] * (a.scale[c] + a.offset);
      if (a.shift) {
        for (int64_t c = 0; c < width; ++c) y[c] += a.shift[c];
      }
    }
    if (a.beside) {
      const T* beside = a.beside + t * width;
      for (int64_t c = 0; c < width; ++c) dsum[c] += beside[c];
    }
    if (a.key.active()) {
      T* dx = a.dx + t * width;
      dropoutFactors(a.key, static_cast<uint32_t>(t), width, factors);
      for (int64_t c = 0; c < width; ++c) {
        dx[c] = dsum[c] * factors[c];
        biasSum[c] += dx[c];
      }
    } else {
      for (int64_t c = 0; c < width; ++c) biasSum[c] += dsum[c];
    }
  }
}

GRADCACHE_CLONES void backwardRange(const BackwardArguments<float>& a, int64_t begin, int64_t end,
                                    float* sums, float* normalized, float* factors) {
  backwardRows(a, begin, end, sums, normalized, factors);
}
GRADCACHE_CLONES void backwardRange(const BackwardArguments<double>& a, int64_t begin, int64_t end,
                                    double* sums, double* normalized, double* factors) {
  backwardRows(a, begin, end, sums, normalized, factors);
}

template <class T>
const T* dataOrNull(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}

template <class T>
T* writableOrNull(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<T>() : nullptr;
}

template <class T>
Norm forward(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual,
             const NormWeights& weights, const DropoutKey& key, bool save) {
  const int64_t tokens = x.size(0), width = x.size(1);
  Norm result;
  result.y = at::empty_like(x);
  const bool layer = weights.kind == NormKind::kLayer;
  const bool added = bias.defined() || residual.defined() || key.active();
  if (save) {
    if (added) result.sum = at::empty_like(x);
    if (layer) result.mean = at::empty({tokens}, x.options());
    result.rstd = at::empty({tokens}, x.options());
  }
  ForwardArguments<T> a{x.const_data_ptr<T>(),
                        dataOrNull<T>(bias),
                        dataOrNull<T>(residual),
                        weights.scale.const_data_ptr<T>(),
                        dataOrNull<T>(weights.shift),
                        result.y.mutable_data_ptr<T>(),
                        writableOrNull<T>(result.sum),
                        writableOrNull<T>(result.mean),
                        writableOrNull<T>(result.rstd),
                        width,
                        static_cast<T>(weights.epsilon),
                        static_cast<T>(weights.offset),
                        layer,
                        key};
  at::parallel_for(0, tokens, 16, [&](int64_t begin, int64_t end) {
    std::vector<T> scratch(static_cast<size_t>(2 * width));
    forwardRange(a, begin, end, scratch.data(), scratch.data() + width);
  });
  if (save && !added) result.sum = x;
  return result;
}

template <class T>
NormGradients backward(const at::Tensor& dy, const at::Tensor& dsum, const Norm& saved,
                       const NormWeights& weights, const DropoutKey& key, const at::Tensor& scaleGradient,
                       const at::Tensor& shiftGradient, const at::Tensor& biasGradient, Output output) {
  const int64_t tokens = dy.size(0), width = dy.size(1);
  NormGradients result;
  result.sum = at::empty_like(dy);
  result.x = key.active() ? at::empty_like(dy) : result.sum;
  if (output == Output::kAgain) result.y = at::empty_like(dy);
  const at::Tensor beside = dsum.defined() ? dsum.contiguous() : dsum;
  BackwardArguments<T> a{dy.const_data_ptr<T>(),
                         dataOrNull<T>(beside),
                         saved.sum.const_data_ptr<T>(),
                         dataOrNull<T>(saved.mean),
                         saved.rstd.const_data_ptr<T>(),
                         weights.scale.const_data_ptr<T>(),
                         dataOrNull<T>(weights.shift),
                         result.sum.mutable_data_ptr<T>(),
                         result.x.mutable_data_ptr<T>(),
                         writableOrNull<T>(result.y),
                         width,
                         static_cast<T>(weights.offset),
                         weights.kind == NormKind::kLayer,
                         key};
  auto sums = sumOverTokens<T>(tokens, 3 * width, [&](int64_t begin, int64_t end, T* partial) {
    std::vector<T> scratch(static_cast<size_t>(2 * width));
    backwardRange(a, begin, end, partial, scratch.data(), scratch.data() + width);
  });
  addTo(scaleGradient, sums.data());
  if (shiftGradient.defined()) addTo(shiftGradient, sums.data() + width);
  if (biasGradient.defined()) addTo(biasGradient, sums.data() + 2 * width);
  return result;
}

}  // namespace

Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save, int64_t /*room*/) {
  return x.scalar_type() == at::kFloat ? forward<float>(x, bias, residual, weights, key, save)
                                       : forward<double>(x, bias, residual, weights, key, save);
}

NormGradients normBackward(const at::Tensor& dy, const at::Tensor& dsum, const Norm& saved,
                           const NormWeights& weights, const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient, Output output,
                           int64_t /*room*/) {
  at::Tensor rows = dy.contiguous();
  return dy.scalar_type() == at::kFloat ? backward<float>(rows, dsum, saved, weights, key, scaleGradient,
                                                          shiftGradient, biasGradient, output)
                                        : backward<double>(rows, dsum, saved, weights, key, scaleGradient,
                                                           shiftGradient, biasGradient, output);
}

}  // namespace gradcache::kernels::cpu
