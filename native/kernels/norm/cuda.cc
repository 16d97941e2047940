#include "kernels/cuda/rows.h"
#include "kernels/norm/versions.h"
#include "kernels/room.h"

namespace gradcache::kernels::cuda {

namespace {
constexpr int64_t kWidestNorm = 2048;

at::Tensor emptyLike(const at::Tensor& rows, int64_t room) {
  return emptyRows(rows.size(0), rows.size(1), room, rows.options());
}

// From one row to the next; those of `like` where there are none.
int64_t strideOf(const at::Tensor& rows, const at::Tensor& like) {
  return rows.defined() ? rowStride(rows) : like.size(1);
}
}  // namespace

bool takesNorms(const at::Tensor& rows) { return takesRows(rows) && rows.size(-1) <= kWidestNorm; }

Norm emptyNorm(int64_t tokens, int64_t width, const at::TensorOptions& options, bool save, int64_t room) {
  Norm result;
  result.y = emptyRows(tokens, width, room, options);
  if (!save) return result;
  result.sum = at::empty({tokens, width}, options);
  result.mean = at::empty({tokens}, options.dtype(at::kFloat));
  result.rstd = at::empty({tokens}, options.dtype(at::kFloat));
  return result;
}

Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save, int64_t room) {
  Norm result = emptyNorm(x.size(0), x.size(1), x.options(), save, room);
  const bool plain = !bias.defined() && !residual.defined() && !key.active();
  if (save && plain) result.sum.reset();
  if (weights.kind == NormKind::kRootSquare) result.mean.reset();
  const GradcacheRows rows = describe(x);
  check(library().normForward(&rows, input(x), input(bias), input(residual), input(weights.scale),
                              input(weights.shift), weights.kind == NormKind::kRootSquare,
                              static_cast<float>(weights.offset), static_cast<float>(weights.epsilon), key,
                              output(result.y), rowStride(result.y), output(result.sum), floats(result.mean),
                              floats(result.rstd)),
        "norm");
  if (save && plain) result.sum = x;
  return result;
}

SandwichNorm sandwichNorm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual,
                          const NormWeights& inner, const NormWeights& outer, const DropoutKey& key,
                          bool save, int64_t room) {
  const auto emptyStatistics = [&](Norm& norm) {
    const at::TensorOptions options = x.options().dtype(at::kFloat);
    if (outer.kind != NormKind::kRootSquare) norm.mean = at::empty({x.size(0)}, options);
    norm.rstd = at::empty({x.size(0)}, options);
  };
  SandwichNorm result;
  result.outer.y = emptyRows(x.size(0), x.size(1), room, x.options());
  result.outer.sum = at::empty_like(x);
  if (save) {
    emptyStatistics(result.inner);
    emptyStatistics(result.outer);
    if (bias.defined()) result.inner.sum = at::empty_like(x);
  }
  const GradcacheRows rows = describe(x);
  const GradcacheSandwich sandwich{input(x),
                                   input(bias),
                                   input(residual),
                                   input(inner.scale),
                                   input(inner.shift),
                                   input(outer.scale),
                                   input(outer.shift),
                                   outer.kind == NormKind::kRootSquare,
                                   static_cast<float>(outer.offset),
                                   static_cast<float>(outer.epsilon)};
  check(library().sandwichNormForward(
            &rows, &sandwich, key, output(result.outer.y), rowStride(result.outer.y),
            output(result.outer.sum), floats(result.outer.mean), floats(result.outer.rstd),
            output(result.inner.sum), floats(result.inner.mean), floats(result.inner.rstd)),
        "sandwich norm");
  if (save && !bias.defined()) result.inner.sum = x;
  return result;
}

SandwichGradients sandwichNormBackward(const at::Tensor& dy, const at::Tensor& dsum,
                                       const SandwichNorm& saved, const NormWeights& inner,
                                       const NormWeights& outer, const DropoutKey&,
                                       const NormTargets& innerTargets, const NormTargets& outerTargets,
                                       int64_t room) {
  const at::Tensor gradient = dy.contiguous();
  SandwichGradients result{at::empty_like(gradient), emptyLike(gradient, room), at::empty_like(gradient)};
  const GradcacheRows rows = describe(gradient);
  const at::Tensor work = scratch(library().normBackwardScratch(&rows), gradient);
  const GradcacheSandwichBackward sandwich{input(gradient),
                                           input(dsum),
                                           strideOf(dsum, gradient),
                                           input(saved.outer.sum),
                                           floats(saved.outer.mean),
                                           floats(saved.outer.rstd),
                                           input(outer.scale),
                                           input(saved.inner.sum),
                                           floats(saved.inner.mean),
                                           floats(saved.inner.rstd),
                                           input(inner.scale),
                                           outer.kind == NormKind::kRootSquare,
                                           static_cast<float>(outer.offset)};
  check(library().sandwichNormBackward(&rows, &sandwich, output(result.sum), output(result.inner),
                                       rowStride(result.inner), output(result.y), floats(outerTargets.scale),
                                       floats(innerTargets.scale), output(work)),
        "sandwich norm backward");
  return result;
}

NormGradients normBackward(const at::Tensor& dy, const at::Tensor& dsum, const Norm& saved,
                           const NormWeights& weights, const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient, Output again,
                           int64_t room) {
  at::Tensor gradient = dy.contiguous();
  NormGradients result;
  result.x = emptyLike(gradient, room);
  result.sum = key.active() ? emptyLike(gradient, 0) : result.x;
  if (again == Output::kAgain) result.y = at::empty_like(gradient);
  const GradcacheRows rows = describe(gradient);
  at::Tensor work = scratch(library().normBackwardScratch(&rows), gradient);
  check(library().normBackward(&rows, input(gradient), input(dsum), strideOf(dsum, gradient),
                               input(saved.sum), floats(saved.mean), floats(saved.rstd), input(weights.scale),
                               input(weights.shift), weights.kind == NormKind::kRootSquare,
                               static_cast<float>(weights.offset), key, output(result.sum),
                               rowStride(result.sum), output(result.x), rowStride(result.x), output(result.y),
                               floats(scaleGradient), floats(shiftGradient), floats(biasGradient),
                               output(work)),
        "norm backward");
  return result;
}

}  // namespace gradcache::kernels::cuda
