#include "kernels/activation/versions.h"
#include "kernels/cuda/rows.h"
#include "kernels/gate/versions.h"

namespace gradcache::kernels::cuda {

bool takesGates(const at::Tensor& x) { return takesRows(x) && x.size(1) % 16 == 0; }

at::Tensor gated(const at::Tensor& x, const at::Tensor& bias, Activation kind, GateOrder order) {
  at::Tensor y = at::empty({x.size(0), x.size(1) / 2}, x.options());
  const GradcacheRows rows = describe(y);
  check(library().gateForward(&rows, kindOf(kind), order == GateOrder::kGateFirst, input(x), input(bias),
                              output(y)),
        "gate");
  return y;
}

ActivationGradients gatedBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                  Activation kind, GateOrder order, const at::Tensor& biasGradient) {
  at::Tensor gradient = dy.contiguous();
  ActivationGradients result{at::empty_like(x), at::empty_like(gradient)};
  const GradcacheRows rows = describe(gradient);
  at::Tensor work = scratch(library().gateBackwardScratch(&rows), gradient);
  check(library().gateBackward(&rows, kindOf(kind), order == GateOrder::kGateFirst, input(gradient), input(x),
                               input(bias), output(result.x), output(result.y), floats(biasGradient),
                               output(work)),
        "gate backward");
  return result;
}

}  // namespace gradcache::kernels::cuda
