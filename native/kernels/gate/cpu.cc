// Bias, activation of the gate and its product with what it lets through, in one pass; the backward takes one
// pass too.
#include "kernels/cpu/activations.h"
#include "kernels/cpu/partial_sums.h"
#include "kernels/gate/versions.h"

namespace gradcache::kernels::cpu {

namespace {

// Rows of x begin with the gate or with what it lets through; `width` is that of one of them.
template <class T>
struct Arguments {
  const T *x, *bias, *dy;  // bias may be null; dy is null in forward
  T *y, *dx;
  int64_t width, gate, up;  // where in a row each begins
};

template <Activation Kind, class T>
GRADCACHE_INLINE void forwardRows(const Arguments<T>& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const T *gate = a.x + 2 * t * a.width + a.gate, *up = a.x + 2 * t * a.width + a.up;
    T* y = a.y + t * a.width;
    for (int64_t c = 0; c < a.width; ++c) {
      T value, slope;
      evaluate<Kind>(a.bias ? gate[c] + a.bias[a.gate + c] : gate[c], value, slope);
      y[c] = value * (a.bias ? up[c] + a.bias[a.up + c] : up[c]);
    }
  }
}

// `sums` [2 * width] gets the gradient of the bias.
template <Activation Kind, class T>
GRADCACHE_INLINE void backwardRows(const Arguments<T>& a, int64_t begin, int64_t end, T* sums) {
  for (int64_t t = begin; t < end; ++t) {
    const T *gate = a.x + 2 * t * a.width + a.gate, *up = a.x + 2 * t * a.width + a.up;
    T *dgate = a.dx + 2 * t * a.width + a.gate, *dup = a.dx + 2 * t * a.width + a.up;
    const T* dy = a.dy + t * a.width;
    T *y = a.y + t * a.width, *gateSum = sums + a.gate, *upSum = sums + a.up;
    for (int64_t c = 0; c < a.width; ++c) {
      T value, slope;
      evaluate<Kind>(a.bias ? gate[c] + a.bias[a.gate + c] : gate[c], value, slope);
      const T through = a.bias ? up[c] + a.bias[a.up + c] : up[c];
      y[c] = value * through;
      dgate[c] = dy[c] * through * slope;
      dup[c] = dy[c] * value;
      gateSum[c] += dgate[c];
      upSum[c] += dup[c];
    }
  }
}

// A name for each type and kind, so that each is compiled for each instruction set.
#define GRADCACHE_GATE(T, Kind)                                                                   \
  GRADCACHE_CLONES void forward##Kind(const Arguments<T>& a, int64_t begin, int64_t end) {        \
    forwardRows<Activation::Kind>(a, begin, end);                                                 \
  }                                                                                               \
  GRADCACHE_CLONES void backward##Kind(const Arguments<T>& a, int64_t begin, int64_t end, T* s) { \
    backwardRows<Activation::Kind>(a, begin, end, s);                                             \
  }
GRADCACHE_GATE(float, kGelu)
GRADCACHE_GATE(float, kGeluTanh)
GRADCACHE_GATE(float, kRelu)
GRADCACHE_GATE(float, kSilu)
GRADCACHE_GATE(double, kGelu)
GRADCACHE_GATE(double, kGeluTanh)
GRADCACHE_GATE(double, kRelu)
GRADCACHE_GATE(double, kSilu)
#undef GRADCACHE_GATE

template <class T>
Arguments<T> arguments(const at::Tensor& x, const at::Tensor& bias, GateOrder order) {
  const int64_t width = x.size(1) / 2;
  const bool gateFirst = order == GateOrder::kGateFirst;
  Arguments<T> a{};
  a.x = x.const_data_ptr<T>();
  a.bias = bias.defined() ? bias.const_data_ptr<T>() : nullptr;
  a.width = width;
  a.gate = gateFirst ? 0 : width;
  a.up = gateFirst ? width : 0;
  return a;
}

template <class T>
at::Tensor forward(const at::Tensor& x, const at::Tensor& bias, Activation kind, GateOrder order) {
  Arguments<T> a = arguments<T>(x, bias, order);
  at::Tensor y = at::empty({x.size(0), a.width}, x.options());
  a.y = y.mutable_data_ptr<T>();
  at::parallel_for(0, x.size(0), 16, [&](int64_t begin, int64_t end) {
    switch (kind) {
      case Activation::kGelu:
        return forwardkGelu(a, begin, end);
      case Activation::kGeluTanh:
        return forwardkGeluTanh(a, begin, end);
      case Activation::kRelu:
        return forwardkRelu(a, begin, end);
      case Activation::kSilu:
        return forwardkSilu(a, begin, end);
    }
  });
  return y;
}

template <class T>
ActivationGradients backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                             Activation kind, GateOrder order, const at::Tensor& biasGradient) {
  ActivationGradients result{at::empty_like(x), at::empty_like(dy)};
  Arguments<T> a = arguments<T>(x, bias, order);
  a.dy = dy.const_data_ptr<T>();
  a.dx = result.x.mutable_data_ptr<T>();
  a.y = result.y.mutable_data_ptr<T>();
  auto sums = sumOverTokens<T>(x.size(0), 2 * a.width, [&](int64_t begin, int64_t end, T* partial) {
    switch (kind) {
      case Activation::kGelu:
        return backwardkGelu(a, begin, end, partial);
      case Activation::kGeluTanh:
        return backwardkGeluTanh(a, begin, end, partial);
      case Activation::kRelu:
        return backwardkRelu(a, begin, end, partial);
      case Activation::kSilu:
        return backwardkSilu(a, begin, end, partial);
    }
  });
  if (biasGradient.defined()) addTo(biasGradient, sums.data());
  return result;
}

}  // namespace

at::Tensor gated(const at::Tensor& x, const at::Tensor& bias, Activation kind, GateOrder order,
                 int64_t /*room*/) {
  return x.scalar_type() == at::kFloat ? forward<float>(x, bias, kind, order)
                                       : forward<double>(x, bias, kind, order);
}

ActivationGradients gatedBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                  Activation kind, GateOrder order, const at::Tensor& biasGradient,
                                  int64_t /*room*/) {
  at::Tensor rows = dy.contiguous();
  return dy.scalar_type() == at::kFloat ? backward<float>(rows, x, bias, kind, order, biasGradient)
                                        : backward<double>(rows, x, bias, kind, order, biasGradient);
}

}  // namespace gradcache::kernels::cpu
