// Bias and activation.
#pragma once

#include <ATen/ATen.h>

namespace gradcache::kernels {

enum class Activation { kGelu, kGeluTanh, kRelu };

at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind);
struct ActivationGradients {
  at::Tensor x;  // dL/dx
  at::Tensor y;  // the forward's output, computed again
};
// Adds to the gradient of the bias.
ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                       Activation kind, const at::Tensor& biasGradient);

}  // namespace gradcache::kernels
