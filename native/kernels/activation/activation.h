// Bias and activation.
#pragma once

#include <ATen/ATen.h>

#include <string_view>

namespace gradcache::kernels {

enum class Activation { kGelu, kGeluTanh, kRelu, kSilu };
// Throws INPUT unless the name is gelu, gelu_tanh, relu or silu.
Activation activationNamed(std::string_view name);

// y = f(x + bias); `bias` may be undefined.
at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind);
struct ActivationGradients {
  at::Tensor x;  // dL/dx
  at::Tensor y;  // the forward's output, computed again
};
// Adds to the gradient of the bias where that is defined.
ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                       Activation kind, const at::Tensor& biasGradient);

}  // namespace gradcache::kernels
