#include "kernels/norm/norm.h"

#include <utility>

#include "kernels/cpu/takes.h"
#include "kernels/norm/versions.h"

namespace gradcache::kernels {

Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save, int64_t room) {
  const auto version = cuda::takesNorms(x) ? cuda::norm : cpu::takes(x) ? cpu::norm : composite::norm;
  return version(x, bias, residual, weights, key, save, room);
}

NormGradients normBackward(const at::Tensor& dy, const at::Tensor& dsum, const Norm& saved,
                           const NormWeights& weights, const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient, Output output) {
  const auto version = cuda::takesNorms(dy) ? cuda::normBackward
                       : cpu::takes(dy)     ? cpu::normBackward
                                            : composite::normBackward;
  return version(dy, dsum, saved, weights, key, scaleGradient, shiftGradient, biasGradient, output);
}

SandwichNorm sandwichNorm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual,
                          const NormWeights& inner, const NormWeights& outer, const DropoutKey& key,
                          bool save, int64_t room) {
  const bool alike =
      inner.kind == outer.kind && inner.offset == outer.offset && inner.epsilon == outer.epsilon;
  if (alike && cuda::takesNorms(x))
    return cuda::sandwichNorm(x, bias, residual, inner, outer, key, save, room);
  SandwichNorm result;
  result.inner = norm(x, bias, {}, inner, {}, save);
  result.outer = norm(std::exchange(result.inner.y, {}), {}, residual, outer, key, /*save=*/true, room);
  return result;
}

}  // namespace gradcache::kernels
