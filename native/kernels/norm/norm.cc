#include "kernels/norm/norm.h"

#include <utility>

#include "kernels/cpu/takes.h"
#include "kernels/norm/versions.h"

namespace gradcache::kernels {

namespace {

bool alike(const NormWeights& one, const NormWeights& other) {
  return one.kind == other.kind && one.offset == other.offset && one.epsilon == other.epsilon;
}

}  // namespace

Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save, int64_t room) {
  const auto version = cuda::takesNorms(x) ? cuda::norm : cpu::takes(x) ? cpu::norm : composite::norm;
  return version(x, bias, residual, weights, key, save, room);
}

NormGradients normBackward(const at::Tensor& dy, const at::Tensor& dsum, const Norm& saved,
                           const NormWeights& weights, const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient, Output output,
                           int64_t room) {
  const auto version = cuda::takesNorms(dy) ? cuda::normBackward
                       : cpu::takes(dy)     ? cpu::normBackward
                                            : composite::normBackward;
  return version(dy, dsum, saved, weights, key, scaleGradient, shiftGradient, biasGradient, output, room);
}

SandwichNorm sandwichNorm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual,
                          const NormWeights& inner, const NormWeights& outer, const DropoutKey& key,
                          bool save, int64_t room) {
  if (alike(inner, outer) && cuda::takesNorms(x))
    return cuda::sandwichNorm(x, bias, residual, inner, outer, key, save, room);
  SandwichNorm result;
  result.inner = norm(x, bias, {}, inner, {}, save);
  result.outer = norm(std::exchange(result.inner.y, {}), {}, residual, outer, key, /*save=*/true, room);
  return result;
}

SandwichGradients sandwichNormBackward(const at::Tensor& dy, const at::Tensor& dsum,
                                       const SandwichNorm& saved, const NormWeights& inner,
                                       const NormWeights& outer, const DropoutKey& key,
                                       const NormTargets& innerTargets, const NormTargets& outerTargets,
                                       int64_t room) {
  const bool scalesAlone =
      !inner.shift.defined() && !outer.shift.defined() && !innerTargets.bias.defined() && !key.active();
  if (scalesAlone && alike(inner, outer) && cuda::takesNorms(dy))
    return cuda::sandwichNormBackward(dy, dsum, saved, inner, outer, key, innerTargets, outerTargets, room);
  NormGradients ofOuter = normBackward(dy, dsum, saved.outer, outer, key, outerTargets.scale,
                                       outerTargets.shift, {}, Output::kAgain);
  const NormGradients ofInner = normBackward(ofOuter.x, {}, saved.inner, inner, {}, innerTargets.scale,
                                             innerTargets.shift, innerTargets.bias, Output::kNone, room);
  return {std::move(ofOuter.sum), ofInner.x, std::move(ofOuter.y)};
}

}  // namespace gradcache::kernels
