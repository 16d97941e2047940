#include "kernels/gate/gate.h"

#include "kernels/cpu/takes.h"
#include "kernels/gate/versions.h"

namespace gradcache::kernels {

at::Tensor gated(const at::Tensor& x, const at::Tensor& bias, Activation kind, GateOrder order) {
  if (cuda::takesGates(x)) return cuda::gated(x, bias, kind, order);
  return cpu::takes(x) ? cpu::gated(x, bias, kind, order) : composite::gated(x, bias, kind, order);
}

ActivationGradients gatedBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                  Activation kind, GateOrder order, const at::Tensor& biasGradient) {
  if (cuda::takesGates(x)) return cuda::gatedBackward(dy, x, bias, kind, order, biasGradient);
  return cpu::takes(dy) ? cpu::gatedBackward(dy, x, bias, kind, order, biasGradient)
                        : composite::gatedBackward(dy, x, bias, kind, order, biasGradient);
}

}  // namespace gradcache::kernels
