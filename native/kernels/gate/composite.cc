#include "kernels/activation/versions.h"
#include "kernels/gate/versions.h"
#include "kernels/rows/rows.h"

namespace gradcache::kernels::composite {

namespace {

struct Halves {
  at::Tensor gate, up;

  Halves(const at::Tensor& x, GateOrder order) {
    const auto halves = x.chunk(2, 1);
    gate = halves[order == GateOrder::kGateFirst ? 0 : 1];
    up = halves[order == GateOrder::kGateFirst ? 1 : 0];
  }
};

at::Tensor sumOf(const at::Tensor& x, const at::Tensor& bias) { return bias.defined() ? x.add(bias) : x; }

}  // namespace

at::Tensor gated(const at::Tensor& x, const at::Tensor& bias, Activation kind, GateOrder order,
                 int64_t /*room*/) {
  const Halves z(sumOf(x, bias), order);
  return activated(z.gate, kind).mul_(z.up);
}

ActivationGradients gatedBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& bias,
                                  Activation kind, GateOrder order, const at::Tensor& biasGradient,
                                  int64_t /*room*/) {
  const Halves z(sumOf(x, bias), order);
  ActivationGradients result{at::empty_like(x), activated(z.gate, kind)};
  const Halves dz(result.x, order);
  dz.gate.copy_(activatedBackward(dy.mul(z.up), z.gate.contiguous(), kind));
  dz.up.copy_(dy.mul(result.y));
  result.y.mul_(z.up);
  if (biasGradient.defined()) addColumnSum(biasGradient, result.x);
  return result;
}

}  // namespace gradcache::kernels::composite
