#include "kernels/activation/activation.h"

#include "core/error.h"
#include "kernels/activation/versions.h"
#include "kernels/cpu/takes.h"
#include "kernels/cuda/rows.h"

namespace gradcache::kernels {

Activation activationNamed(std::string_view name) {
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  if (name == "silu") return Activation::kSilu;
  fail("INPUT", "activation '", name, "' is unknown; use gelu, gelu_tanh, relu or silu");
}

at::Tensor activation(const at::Tensor& x, const at::Tensor& bias, Activation kind) {
  if (cuda::takesRows(x)) return cuda::activation(x, bias, kind);
  return cpu::takes(x) ? cpu::activation(x, bias, kind) : composite::activation(x, bias, kind);
}

ActivationGradients activationBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                       Activation kind, const at::Tensor& biasGradient) {
  if (cuda::takesRows(dy)) return cuda::activationBackward(dy, x, bias, kind, biasGradient);
  return cpu::takes(dy) ? cpu::activationBackward(dy, x, bias, kind, biasGradient)
                        : composite::activationBackward(dy, x, bias, kind, biasGradient);
}

}  // namespace gradcache::kernels
