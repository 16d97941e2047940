// Norms of a residual sum. [T, H] is tokens by features, in the compute type; statistics and parameter
// gradients are float32 (float64 for float64).
#pragma once

#include <ATen/ATen.h>

#include "core/dropout_key.h"

namespace gradcache::kernels {

enum class NormKind {
  kLayer,       // (x - mean) / deviation (Ba et al. 2016)
  kRootSquare,  // x / root of the mean square (Zhang & Sennrich 2019)
};

struct NormWeights {
  at::Tensor scale;  // [H]
  at::Tensor shift;  // [H]; undefined: none
  double epsilon = 1e-12;
  NormKind kind = NormKind::kLayer;
  double offset = 0;  // added to the scale
};
struct Norm {
  at::Tensor y;           // [T, H]: norm(sum) * (scale + offset) + shift
  at::Tensor sum;         // [T, H]: residual + dropout(x + bias), or x itself; undefined unless saved
  at::Tensor mean, rstd;  // [T]; undefined unless saved, the mean of kRootSquare too
};
// `bias` and `residual` may be undefined. `save` keeps what normBackward needs. `room` is for so many columns
// behind y (kernels/room.h), which the CUDA version leaves.
Norm norm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual, const NormWeights& weights,
          const DropoutKey& key, bool save, int64_t room = 0);

// Two norms with a sum between them (Ding et al. 2021).
struct SandwichNorm {
  Norm inner;  // of x + bias, without y
  Norm outer;  // of sum = residual + dropout(inner's y)
};
// To the bits of two calls of norm(). `residual` is defined. The outer sum is there whether or not `save`
// keeps what two calls of normBackward need.
SandwichNorm sandwichNorm(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& residual,
                          const NormWeights& inner, const NormWeights& outer, const DropoutKey& key,
                          bool save, int64_t room = 0);

struct NormGradients {
  at::Tensor sum;  // dL/d(residual), [T, H]
  at::Tensor x;    // dL/dx: the same behind the dropout
  at::Tensor y;    // the forward's output, computed again; undefined if it is not asked for
};
// Whether a backward gives the forward's output again.
enum class Output { kAgain, kNone };
// `dsum` [T, H], or undefined, is what reaches the sum beside the norm; its rows may lie apart. Adds to the
// gradients of scale and (where defined) shift and bias. `room` is for so many columns behind the result's x,
// which the CUDA version leaves; where nothing drops out, the result's sum is that x.
NormGradients normBackward(const at::Tensor& dy, const at::Tensor& dsum, const Norm& saved,
                           const NormWeights& weights, const DropoutKey& key, const at::Tensor& scaleGradient,
                           const at::Tensor& shiftGradient, const at::Tensor& biasGradient, Output output,
                           int64_t room = 0);

// Parameters of a norm and the bias in front of it, whose gradients a backward adds to; undefined: none.
struct NormTargets {
  at::Tensor scale, shift, bias;
};
struct SandwichGradients {
  at::Tensor sum;    // dL/d(residual)
  at::Tensor inner;  // dL/dx
  at::Tensor y;      // the outer norm's output, computed again
};
// `dsum` and `room`, behind the result's inner, as above. `innerTargets.bias` is that of the sandwich.
SandwichGradients sandwichNormBackward(const at::Tensor& dy, const at::Tensor& dsum,
                                       const SandwichNorm& saved, const NormWeights& inner,
                                       const NormWeights& outer, const DropoutKey& key,
                                       const NormTargets& innerTargets, const NormTargets& outerTargets,
                                       int64_t room = 0);

}  // namespace gradcache::kernels
