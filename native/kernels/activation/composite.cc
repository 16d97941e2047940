#include "kernels/activation/versions.h"
#include "kernels/rows/versions.h"

namespace gradcache::kernels::composite {

at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind) {
  at::Tensor z = x.add(bias);
  switch (kind) {
    case Activation::kGelu:
      return at::gelu(z);
    case Activation::kGeluTanh:
      return at::gelu(z, "tanh");
    case Activation::kRelu:
      return at::relu(z);
  }
  return {};
}

ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                       Activation kind, const at::Tensor& biasGradient) {
  at::Tensor z = x.add(bias);
  at::Tensor y, dx;
  if (kind == Activation::kRelu) {
    y = at::relu(z);
    dx = at::threshold_backward(dy, y, 0);
  } else {
    const char* form = kind == Activation::kGelu ? "none" : "tanh";
    y = at::gelu(z, form);
    dx = at::gelu_backward(dy, z, form);
  }
  addColumnSum(biasGradient, dx);
  return {dx, y};
}

}  // namespace gradcache::kernels::composite
