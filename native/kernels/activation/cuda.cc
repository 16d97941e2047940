#include "kernels/activation/versions.h"
#include "kernels/cuda/rows.h"

namespace gradcache::kernels::cuda {

GradcacheActivation kindOf(Activation kind) {
  switch (kind) {
    case Activation::kGelu:
      return GRADCACHE_GELU;
    case Activation::kGeluTanh:
      return GRADCACHE_GELU_TANH;
    case Activation::kRelu:
      return GRADCACHE_RELU;
    case Activation::kSilu:
      return GRADCACHE_SILU;
  }
  return GRADCACHE_GELU;
}

at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind) {
  const GradcacheRows rows = describe(x);
  at::Tensor y = at::empty_like(x);
  check(library().activationForward(&rows, kindOf(kind), input(x), input(bias), output(y)), "activation");
  return y;
}

ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                       Activation kind, const at::Tensor& biasGradient) {
  at::Tensor gradient = dy.contiguous();
  ActivationGradients result{at::empty_like(gradient), at::empty_like(gradient)};
  const GradcacheRows rows = describe(gradient);
  at::Tensor work = scratch(library().activationBackwardScratch(&rows), gradient);
  check(library().activationBackward(&rows, kindOf(kind), input(gradient), input(x), input(bias),
                                     output(result.x), output(result.y), floats(biasGradient), output(work)),
        "activation backward");
  return result;
}

}  // namespace gradcache::kernels::cuda
