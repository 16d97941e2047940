// A norm: its scale, its shift where it has one, and the kernels' forward and backward.
#pragma once

#include <optional>
#include <string>

#include "kernels/norm/norm.h"
#include "model/block.h"

namespace gradcache {

struct NormStyle {
  double epsilon;
  bool shift = true;
  kernels::NormKind kind = kernels::NormKind::kLayer;
  double offset = 0;  // added to the scale
};

class Normalization {
 public:
  // Parameters `name`.weight and, with a shift, `name`.bias [width].
  Normalization(ParameterList& list, const std::string& name, int64_t width, const NormStyle& style)
      : scale_(list.add({{name + ".weight", {width}, false, initialScale(style)}})), style_(style) {
    if (style.shift) shift_ = list.add({{name + ".bias", {width}, false}});
  }
  // A layer norm with a shift.
  Normalization(ParameterList& list, const std::string& name, int64_t width, double epsilon)
      : Normalization(list, name, width, NormStyle{epsilon}) {}

  kernels::NormWeights weights(const Pass& pass) const {
    return {pass.weight(scale_), shift_ ? pass.weight(*shift_) : at::Tensor(), style_.epsilon, style_.kind,
            style_.offset};
  }
  const at::Tensor& scaleGradient(const Pass& pass) const { return pass.gradient(scale_); }
  at::Tensor shiftGradient(const Pass& pass) const { return shift_ ? pass.gradient(*shift_) : at::Tensor(); }

  // As kernels::norm and kernels::normBackward.
  kernels::Norm forward(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual,
                        const DropoutKey& key, const Pass& pass, bool save, int64_t room = 0) const {
    return kernels::norm(x, bias, residual, weights(pass), key, save, room);
  }
  // Of a stream's rows, which are the result's `sum`, with what is still to be added to them.
  kernels::Norm forward(const Stream& x, const Pass& pass, bool save, int64_t room = 0) const {
    if (x.branch) return x.branch->addedAndNormed(x.rows, weights(pass), save, room);
    kernels::Norm norm = forward(x.rows, {}, {}, {}, pass, save, room);
    norm.sum = x.rows;
    return norm;
  }
  // `dsum` is what reaches the sum beside the norm; undefined: nothing.
  kernels::NormGradients backward(const at::Tensor& dy, const kernels::Norm& saved, const DropoutKey& key,
                                  const at::Tensor& biasGradient, const Pass& pass,
                                  const at::Tensor& dsum = {},
                                  kernels::Output output = kernels::Output::kNone, int64_t room = 0) const {
    return kernels::normBackward(dy, dsum, saved, weights(pass), key, scaleGradient(pass),
                                 shiftGradient(pass), biasGradient, output, room);
  }
  kernels::NormTargets targets(const at::Tensor& biasGradient, const Pass& pass) const {
    return {scaleGradient(pass), shiftGradient(pass), biasGradient};
  }
  // The output of a forward that was saved: computing it again costs less than keeping it.
  Stream stream(at::Tensor y, const kernels::Norm& saved, const Pass& pass) const {
    return {std::move(y), [sum = saved.sum, weights = weights(pass)] {
              return kernels::norm(sum, {}, {}, weights, {}, false).y;
            }};
  }

 private:
  // A scale that is added to 1 begins at 0.
  static Initial initialScale(const NormStyle& style) {
    return style.offset == 0 ? Initial{} : Initial::constant(1 - style.offset);
  }

  ParameterId scale_;
  std::optional<ParameterId> shift_;
  NormStyle style_;
};

// What a norm keeps for its backward beside its input.
inline kernels::Norm withoutOutput(kernels::Norm norm) {
  norm.y.reset();
  return norm;
}

}  // namespace gradcache
