// A layer norm: its scale and shift, and the kernels' forward and backward.
#pragma once

#include <string>

#include "kernels/norm/norm.h"
#include "model/block.h"

namespace gradcache {

class LayerNorm {
 public:
  // Parameters `name`.weight and `name`.bias [width].
  LayerNorm(ParameterList& list, const std::string& name, int64_t width, double epsilon)
      : scale_(list.add({{name + ".weight", {width}, false}})),
        shift_(list.add({{name + ".bias", {width}, false}})),
        epsilon_(epsilon) {}

  kernels::NormWeights weights(const Pass& pass) const {
    return {pass.weight(scale_), pass.weight(shift_), epsilon_};
  }
  const at::Tensor& scaleGradient(const Pass& pass) const { return pass.gradient(scale_); }
  const at::Tensor& shiftGradient(const Pass& pass) const { return pass.gradient(shift_); }

  // As kernels::norm and kernels::normBackward.
  kernels::Norm forward(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual,
                        const DropoutKey& key, const Pass& pass, bool save) const {
    return kernels::norm(x, bias, residual, weights(pass), key, save);
  }
  kernels::NormGradients backward(const at::Tensor& dy, const kernels::Norm& saved, const DropoutKey& key,
                                  const at::Tensor& biasGradient, const Pass& pass) const {
    return kernels::normBackward(dy, saved, weights(pass), key, scaleGradient(pass), shiftGradient(pass),
                                 biasGradient);
  }
  // The output of a forward that was saved: computing it again costs less than keeping it.
  Stream stream(at::Tensor y, const kernels::Norm& saved, const Pass& pass) const {
    return {std::move(y), [sum = saved.sum, weights = weights(pass)] {
              return kernels::norm(sum, {}, {}, weights, {}, false).y;
            }};
  }

 private:
  ParameterId scale_, shift_;
  double epsilon_;
};

}  // namespace gradcache
