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
          const DropoutKey& key, bool save, int64_t /*room*/) {
  at::Tensor sum = bias.defined() ? x.add(bias) : x;
  if (key.active()) sum = kernels::dropout(sum, key);
  if (residual.defined()) sum = sum.add(residual);
  if (weights.kind == NormKind::kRootSquare) {
    const at::Tensor wide = sum.to(statisticsType(sum));
    const at::Tensor rstd = wide.square().mean({1}, true).add_(weights.epsilon).rsqrt_();
    at::Tensor y = wide.mul(rstd).mul_(weights.scale.to(wide.scalar_type()).add(weights.offset));
    if (weights.shift.defined()) y.add_(weights.shift);
    y = y.to(sum.scalar_type());
    return save ? Norm{y, sum, {}, rstd.view({-1})} : Norm{y, {}, {}, {}};
  }
  auto [y, mean, rstd] = at::native_layer_norm(
      sum, {sum.size(1)}, weights.offset == 0 ? weights.scale : weights.scale.add(weights.offset),
      weights.shift, weights.epsilon);
  if (!save) return {y, {}, {}, {}};
  return {y, sum, mean.view({-1}), rstd.view({-1})};
}

NormGradients normBackward(const at::Tensor& dy, const at::Tensor& dsum, const Norm& saved,
                           const NormWeights& weights, const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient, Output output,
                           int64_t /*room*/) {
  const bool layer = weights.kind == NormKind::kLayer;
  const at::ScalarType type = statisticsType(dy);
  const at::Tensor rstd = saved.rstd.to(type).view({-1, 1});
  at::Tensor normalized = saved.sum.to(type);
  if (layer) normalized = normalized.sub(saved.mean.to(type).view({-1, 1}));
  normalized = normalized.mul(rstd);
  at::Tensor dyWide = dy.to(type);
  addColumnSum(scaleGradient, dyWide.mul(normalized));
  if (shiftGradient.defined()) addColumnSum(shiftGradient, dyWide);
  at::Tensor scale = weights.scale.to(type).add(weights.offset);
  at::Tensor dnormalized = dyWide.mul(scale);
  at::Tensor along = dnormalized.mul(normalized).mean({1}, true);
  if (layer) dnormalized = dnormalized.sub(dnormalized.mean({1}, true));
  at::Tensor all = dnormalized.sub(normalized.mul(along)).mul(rstd);
  if (dsum.defined()) all = all.add(dsum);
  all = all.to(dy.scalar_type());
  at::Tensor dx = key.active() ? kernels::dropout(all, key) : all;
  if (biasGradient.defined()) addColumnSum(biasGradient, dx);
  if (output == Output::kNone) return {all, dx, {}};
  at::Tensor y = normalized.mul(scale);
  if (weights.shift.defined()) y = y.add(weights.shift.to(type));
  return {all, dx, y.to(dy.scalar_type())};
}

}  // namespace gradcache::kernels::composite
