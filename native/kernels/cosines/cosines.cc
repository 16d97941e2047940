#include "kernels/cosines/cosines.h"

#include "kernels/cosines/versions.h"
#include "kernels/cpu/takes.h"

namespace gradcache::kernels {

void cosines(const at::Tensor& target, const at::Tensor& dots, const CosineFactors& factors, double bias) {
  if (cpu::takes(dots)) {
    cpu::cosines(target, dots, factors, bias);
  } else {
    composite::cosines(target, dots, factors, bias);
  }
}

at::Tensor addDotGradient(const at::Tensor& sum, bool begins, const at::Tensor& ofCosines,
                          const at::Tensor& dots, const CosineFactors& factors, double weight,
                          const at::Tensor& ofColumns) {
  if (cpu::takes(dots)) return cpu::addDotGradient(sum, begins, ofCosines, dots, factors, weight, ofColumns);
  return composite::addDotGradient(sum, begins, ofCosines, dots, factors, weight, ofColumns);
}

}  // namespace gradcache::kernels
