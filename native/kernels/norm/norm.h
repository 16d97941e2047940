// Layer norm of a residual sum. [T, H] is tokens by features, in the compute type; statistics and parameter
// gradients are float32 (float64 for float64).
#pragma once

#include <ATen/ATen.h>

#include "core/dropout_key.h"

namespace gradcache::kernels {

struct NormWeights {
  at::Tensor scale, shift;  // [H]
  double epsilon = 1e-12;
};
struct Norm {
  at::Tensor y;           // [T, H]: norm(sum) * scale + shift
  at::Tensor sum;         // [T, H]: residual + dropout(x + bias); undefined unless saved
  at::Tensor mean, rstd;  // [T]; undefined unless saved
};
// `bias` and `residual` may be undefined. `save` keeps what normBackward needs.
Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save);

struct NormGradients {
  at::Tensor sum;  // dL/d(residual), [T, H]
  at::Tensor x;    // dL/dx: the same behind the dropout
  at::Tensor y;    // the forward's output, computed again
};
// Adds to the gradients of scale, shift and (where defined) bias.
NormGradients normBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                           const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient);

}  // namespace gradcache::kernels
