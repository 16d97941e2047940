#include "kernels/cosines/versions.h"

namespace gradcache::kernels::composite {

void cosines(const at::Tensor& target, const at::Tensor& dots, const CosineFactors& factors, double bias) {
  at::Tensor result = target;
  at::mul_out(result, dots, factors.rows.unsqueeze(1)).mul_(factors.columns);
  if (bias != 0) result.add_(bias);
}

at::Tensor addDotGradient(const at::Tensor& sum, bool begins, const at::Tensor& ofCosines,
                          const at::Tensor& dots, const CosineFactors& factors, double weight,
                          const at::Tensor& ofColumns) {
  const at::Tensor ofDots = ofCosines.mul(factors.rows.unsqueeze(1)).mul_(factors.columns.mul(weight));
  if (begins) {
    sum.copy_(ofDots);
  } else {
    sum.add_(ofDots);
  }
  const at::Tensor lost = at::mul(ofDots, dots);
  ofColumns.add_(lost.sum({0}));
  return lost.sum({1});
}

}  // namespace gradcache::kernels::composite
