#include "kernels/norm/norm.h"

#include "kernels/cpu/takes.h"
#include "kernels/norm/versions.h"

namespace gradcache::kernels {

Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save) {
  if (cuda::takesNorms(x)) return cuda::norm(x, bias, residual, weights, key, save);
  return cpu::takes(x) ? cpu::norm(x, bias, residual, weights, key, save)
                       : composite::norm(x, bias, residual, weights, key, save);
}

NormGradients normBackward(const at::Tensor& dy, const at::Tensor& dsum, const Norm& saved,
                           const NormWeights& weights, const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient) {
  if (cuda::takesNorms(dy))
    return cuda::normBackward(dy, dsum, saved, weights, key, scaleGradient, shiftGradient, biasGradient);
  return cpu::takes(dy)
             ? cpu::normBackward(dy, dsum, saved, weights, key, scaleGradient, shiftGradient, biasGradient)
             : composite::normBackward(dy, dsum, saved, weights, key, scaleGradient, shiftGradient,
                                       biasGradient);
}

}  // namespace gradcache::kernels
