#include "kernels/activation/versions.h"
#include "kernels/cuda/rows.h"
#include "kernels/gate/versions.h"
#include "kernels/room.h"

namespace gradcache::kernels::cuda {

bool takesGates(const at::Tensor& x) { return takesRows(x) && x.size(1) % 16 == 0; }

at::Tensor gated(const at::Tensor& x, const at::Tensor& bias, Activation kind, GateOrder order,
                 int64_t room) {
  at::Tensor y = emptyRows(x.size(0), x.size(1) / 2, room, x.options());
  const GradcacheRows rows = describe(y);
  check(library().gateForward(&rows, kindOf(kind), order == GateOrder::kGateFirst, input(x), input(bias),
                              output(y), y.stride(0)),
        "gate");
  return y;
}

ActivationGradients gatedBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                  Activation kind, GateOrder order, const at::Tensor& biasGradient,
                                  int64_t room) {
  at::Tensor gradient = dy.contiguous();
  ActivationGradients result{emptyRows(x.size(0), x.size(1), room, x.options()), at::empty_like(gradient)};
  const GradcacheRows rows = describe(gradient);
  at::Tensor work = scratch(library().gateBackwardScratch(&rows), gradient);
  check(library().gateBackward(&rows, kindOf(kind), order == GateOrder::kGateFirst, input(gradient), input(x),
                               input(bias), output(result.x), result.x.stride(0), output(result.y),
                               floats(biasGradient), output(work)),
        "gate backward");
  return result;
}

}  // namespace gradcache::kernels::cuda
