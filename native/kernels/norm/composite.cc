#include "kernels/dropout/dropout.h"
#include "kernels/norm/versions.h"
#include "kernels/rows/versions.h"

namespace gradcache::kernels::composite {

namespace {

at::ScalarType statisticsType(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace

Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save) {
  at::Tensor sum = bias.defined() ? x.add(bias) : x;
  if (key.active()) sum = kernels::dropout(sum, key);
  if (residual.defined()) sum = sum.add(residual);
  auto [y, mean, rstd] =
      at::native_layer_norm(sum, {sum.size(1)}, weights.scale, weights.shift, weights.epsilon);
  if (!save) return {y, {}, {}, {}};
  return {y, sum, mean.view({-1}), rstd.view({-1})};
}

NormGradients normBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                           const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient) {
  const at::ScalarType type = statisticsType(dy);
  at::Tensor mean = saved.mean.to(type).view({-1, 1}), rstd = saved.rstd.to(type).view({-1, 1});
  at::Tensor normalized = saved.sum.to(type).sub(mean).mul(rstd);
  at::Tensor dyWide = dy.to(type);
  addColumnSum(scaleGradient, dyWide.mul(normalized));
  addColumnSum(shiftGradient, dyWide);
  at::Tensor scale = weights.scale.to(type);
  at::Tensor dnormalized = dyWide.mul(scale);
  at::Tensor dsum = dnormalized.sub(dnormalized.mean({1}, true))
                        .sub(normalized.mul(dnormalized.mul(normalized).mean({1}, true)))
                        .mul(rstd)
                        .to(dy.scalar_type());
  at::Tensor dx = key.active() ? kernels::dropout(dsum, key) : dsum;
  if (biasGradient.defined()) addColumnSum(biasGradient, dx);
  return {dsum, dx, normalized.mul(scale).add(weights.shift.to(type)).to(dy.scalar_type())};
}

}  // namespace gradcache::kernels::composite
