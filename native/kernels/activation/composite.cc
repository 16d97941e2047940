#include "kernels/activation/versions.h"
#include "kernels/rows/versions.h"

namespace gradcache::kernels::composite {

at::Tensor activated(const at::Tensor& z, Activation kind) {
  switch (kind) {
    case Activation::kGelu:
      return at::gelu(z);
    case Activation::kGeluTanh:
      return at::gelu(z, "tanh");
    case Activation::kRelu:
      return at::relu(z);
    case Activation::kSilu:
      return at::silu(z);
  }
  return {};
}

at::Tensor activatedBackward(const at::Tensor& dy, const at::Tensor& z, Activation kind) {
  switch (kind) {
    case Activation::kGelu:
      return at::gelu_backward(dy, z, "none");
    case Activation::kGeluTanh:
      return at::gelu_backward(dy, z, "tanh");
    case Activation::kRelu:
      return at::threshold_backward(dy, z, 0);
    case Activation::kSilu:
      return at::silu_backward(dy, z);
  }
  return {};
}

at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind) {
  return activated(bias.defined() ? x.add(bias) : x, kind);
}

ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                       Activation kind, const at::Tensor& biasGradient) {
  const at::Tensor z = bias.defined() ? x.add(bias) : x;
  ActivationGradients result{activatedBackward(dy, z, kind), activated(z, kind)};
  if (biasGradient.defined()) addColumnSum(biasGradient, result.x);
  return result;
}

}  // namespace gradcache::kernels::composite
