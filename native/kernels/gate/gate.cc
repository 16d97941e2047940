#include "kernels/gate/gate.h"

#include "kernels/cpu/takes.h"
#include "kernels/gate/versions.h"

namespace gradcache::kernels {

at::Tensor gated(const at::Tensor& x, const at::Tensor& bias, Activation kind, GateOrder order,
                 int64_t room) {
  const auto version = cuda::takesGates(x) ? cuda::gated : cpu::takes(x) ? cpu::gated : composite::gated;
  return version(x, bias, kind, order, room);
}

ActivationGradients gatedBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                  Activation kind, GateOrder order, const at::Tensor& biasGradient,
                                  int64_t room) {
  const auto version = cuda::takesGates(x) ? cuda::gatedBackward
                       : cpu::takes(dy)    ? cpu::gatedBackward
                                           : composite::gatedBackward;
  return version(dy, x, bias, kind, order, biasGradient, room);
}

}  // namespace gradcache::kernels
