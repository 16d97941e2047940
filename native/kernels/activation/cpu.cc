// Bias and activation in one pass. The backward also takes one pass: it returns the input's gradient and the
// recomputed output, and adds to the bias's gradient.
#include "kernels/activation/versions.h"
#include "kernels/cpu/partial_sums.h"
#include "kernels/cpu/simd.h"

namespace gradcache::kernels::cpu {

namespace {

// The normal distribution's cumulative and density at z, for GELU(z) = z * cumulative(z).
GRADCACHE_INLINE void normal(double z, double& cumulative, double& density) {
  cumulative = 0.5 * std::erfc(-z * 0.70710678118654752440);
  density = 0.39894228040143267794 * std::exp(-0.5 * z * z);
}

// Abramowitz and Stegun 7.1.26: erf within 1.5e-7, about float32's own resolution, and it vectorises.
GRADCACHE_INLINE void normal(float z, float& cumulative, float& density) {
  const float magnitude = z < 0.0f ? -z : z;
  const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * magnitude);
  const float e = exponential(-0.5f * z * z);
  float q = 0.5f * 1.061405429f;
  q = q * t + 0.5f * -1.453152027f;
  q = q * t + 0.5f * 1.421413741f;
  q = q * t + 0.5f * -0.284496736f;
  q = q * t + 0.5f * 0.254829592f;
  q = q * t * e;
  cumulative = z < 0.0f ? q : 1.0f - q;
  density = 0.39894228040f * e;
}

template <class T>
GRADCACHE_INLINE T hyperbolicTangent(T x) {
  const T e = exponential(T(-2) * (x < 0 ? -x : x));
  const T magnitude = (T(1) - e) / (T(1) + e);
  return x < 0 ? -magnitude : magnitude;
}

// y = f(z) and f'(z).
template <Activation Kind, class T>
GRADCACHE_INLINE void evaluate(T z, T& y, T& slope) {
  if constexpr (Kind == Activation::kGelu) {
    T cumulative, density;
    normal(z, cumulative, density);
    y = z * cumulative;
    slope = cumulative + z * density;
  } else if constexpr (Kind == Activation::kGeluTanh) {
    constexpr T root = T(0.79788456080286535588), cubic = T(0.044715);
    const T t = hyperbolicTangent(root * (z + cubic * z * z * z));
    y = T(0.5) * z * (T(1) + t);
    slope = T(0.5) * (T(1) + t) + T(0.5) * z * (T(1) - t * t) * root * (T(1) + T(3) * cubic * z * z);
  } else {
    y = z > 0 ? z : T(0);
    slope = z > 0 ? T(1) : T(0);
  }
}

template <Activation Kind, class T>
GRADCACHE_INLINE void forwardRows(const T* x, const T* bias, T* y, int64_t rows, int64_t width) {
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t c = 0; c < width; ++c) {
      T slope;
      evaluate<Kind>(x[t * width + c] + bias[c], y[t * width + c], slope);
    }
  }
}

template <Activation Kind, class T>
GRADCACHE_INLINE void backwardRows(const T* dy, const T* x, const T* bias, T* dx, T* y, T* biasSum,
                                   int64_t rows, int64_t width) {
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t c = 0; c < width; ++c) {
      const int64_t k = t * width + c;
      T value, slope;
      evaluate<Kind>(x[k] + bias[c], value, slope);
      const T gradient = dy[k] * slope;
      y[k] = value;
      dx[k] = gradient;
      biasSum[c] += gradient;
    }
  }
}

// A name for each type and kind, so that each is compiled for each instruction set.
#define GRADCACHE_ACTIVATION(T, Kind)                                                                   \
  GRADCACHE_CLONES void forward##Kind(const T* __restrict x, const T* __restrict bias, T* __restrict y, \
                                      int64_t rows, int64_t width) {                                    \
    forwardRows<Activation::Kind>(x, bias, y, rows, width);                                             \
  }                                                                                                     \
  GRADCACHE_CLONES void backward##Kind(const T* __restrict dy, const T* __restrict x,                   \
                                       const T* __restrict bias, T* __restrict dx, T* __restrict y,     \
                                       T* __restrict biasSum, int64_t rows, int64_t width) {            \
    backwardRows<Activation::Kind>(dy, x, bias, dx, y, biasSum, rows, width);                           \
  }
GRADCACHE_ACTIVATION(float, kGelu)
GRADCACHE_ACTIVATION(float, kGeluTanh)
GRADCACHE_ACTIVATION(float, kRelu)
GRADCACHE_ACTIVATION(double, kGelu)
GRADCACHE_ACTIVATION(double, kGeluTanh)
GRADCACHE_ACTIVATION(double, kRelu)
#undef GRADCACHE_ACTIVATION

template <class T>
at::Tensor forward(const at::Tensor& x, const at::Tensor& bias, Activation kind) {
  at::Tensor y = at::empty_like(x);
  const int64_t width = x.size(1);
  const T *xData = x.const_data_ptr<T>(), *biasData = bias.const_data_ptr<T>();
  T* yData = y.mutable_data_ptr<T>();
  at::parallel_for(0, x.size(0), 16, [&](int64_t begin, int64_t end) {
    const int64_t start = begin * width;
    switch (kind) {
      case Activation::kGelu:
        return forwardkGelu(xData + start, biasData, yData + start, end - begin, width);
      case Activation::kGeluTanh:
        return forwardkGeluTanh(xData + start, biasData, yData + start, end - begin, width);
      case Activation::kRelu:
        return forwardkRelu(xData + start, biasData, yData + start, end - begin, width);
    }
  });
  return y;
}

template <class T>
ActivationGradients backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                             Activation kind, const at::Tensor& biasGradient) {
  ActivationGradients result{at::empty_like(x), at::empty_like(x)};
  const int64_t width = x.size(1);
  const T *dyData = dy.const_data_ptr<T>(), *xData = x.const_data_ptr<T>(),
          *biasData = bias.const_data_ptr<T>();
  T *dxData = result.x.mutable_data_ptr<T>(), *yData = result.y.mutable_data_ptr<T>();
  auto sums = sumOverTokens<T>(x.size(0), width, [&](int64_t begin, int64_t end, T* partial) {
    const int64_t start = begin * width, rows = end - begin;
    switch (kind) {
      case Activation::kGelu:
        return backwardkGelu(dyData + start, xData + start, biasData, dxData + start, yData + start, partial,
                             rows, width);
      case Activation::kGeluTanh:
        return backwardkGeluTanh(dyData + start, xData + start, biasData, dxData + start, yData + start,
                                 partial, rows, width);
      case Activation::kRelu:
        return backwardkRelu(dyData + start, xData + start, biasData, dxData + start, yData + start, partial,
                             rows, width);
    }
  });
  addTo(biasGradient, sums.data());
  return result;
}

}  // namespace

at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind) {
  return x.scalar_type() == at::kFloat ? forward<float>(x, bias, kind) : forward<double>(x, bias, kind);
}

ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                       Activation kind, const at::Tensor& biasGradient) {
  at::Tensor rows = dy.contiguous();
  return dy.scalar_type() == at::kFloat ? backward<float>(rows, x, bias, kind, biasGradient)
                                        : backward<double>(rows, x, bias, kind, biasGradient);
}

}  // namespace gradcache::kernels::cpu
