// Bias, where there is one, and activation in one pass. The backward also takes one pass: it returns the
// input's gradient and the recomputed output, and adds to the bias's gradient.
#include "kernels/activation/versions.h"
#include "kernels/cpu/activations.h"
#include "kernels/cpu/partial_sums.h"

namespace gradcache::kernels::cpu {

namespace {

template <Activation Kind, class T>
GRADCACHE_INLINE void forwardRows(const T* x, const T* bias, T* y, int64_t rows, int64_t width) {
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t c = 0; c < width; ++c) {
      T slope;
      evaluate<Kind>(bias ? x[t * width + c] + bias[c] : x[t * width + c], y[t * width + c], slope);
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
      evaluate<Kind>(bias ? x[k] + bias[c] : x[k], value, slope);
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
GRADCACHE_ACTIVATION(float, kSilu)
GRADCACHE_ACTIVATION(double, kGelu)
GRADCACHE_ACTIVATION(double, kGeluTanh)
GRADCACHE_ACTIVATION(double, kRelu)
GRADCACHE_ACTIVATION(double, kSilu)
#undef GRADCACHE_ACTIVATION

template <class T>
at::Tensor forward(const at::Tensor& x, const at::Tensor& bias, Activation kind) {
  at::Tensor y = at::empty_like(x);
  const int64_t width = x.size(1);
  const T *xData = x.const_data_ptr<T>(), *biasData = bias.defined() ? bias.const_data_ptr<T>() : nullptr;
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
      case Activation::kSilu:
        return forwardkSilu(xData + start, biasData, yData + start, end - begin, width);
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
          *biasData = bias.defined() ? bias.const_data_ptr<T>() : nullptr;
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
      case Activation::kSilu:
        return backwardkSilu(dyData + start, xData + start, biasData, dxData + start, yData + start, partial,
                             rows, width);
    }
  });
  if (biasGradient.defined()) addTo(biasGradient, sums.data());
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
