// One post-norm transformer layer over packed tokens, with its backward written by hand.
#pragma once

#include <ATen/ATen.h>

#include <memory>

#include "core/packed_tokens.h"
#include "core/parameters.h"
#include "kernels/activation/activation.h"
#include "kernels/attention/attention.h"
#include "kernels/norm/norm.h"

namespace gradcache {

// A weight matrix and its bias, in the type that computes, with the gradients they add to.
struct Linear {
  at::Tensor weight, bias;                  // [out, in], [out]
  at::Tensor weightGradient, biasGradient;  // views of the parameters' gradients
};

struct LayerNorm {
  kernels::NormWeights weights;
  at::Tensor scaleGradient, shiftGradient;
};

struct LayerWeights {
  Linear qkv, attentionOutput, up, down;
  LayerNorm attentionNorm, outputNorm;
};

struct LayerOptions {
  int64_t heads = 0;
  kernels::Activation activation = kernels::Activation::kGelu;
  DropoutKey attentionKey, attentionOutputKey, outputKey;
  at::Tensor distanceBias, distanceBiasGradient;  // [heads, 2 * longest - 1]; undefined but for MPNet
};

// What backward needs of a forward, at 10 H values a token and a few statistics: masks are computed again
// from their keys, norm and activation outputs from their inputs.
struct LayerTape {
  at::Tensor input;  // undefined where inputNorm, the norm whose output the input is, brings it back
  kernels::Norm inputNorm;
  kernels::NormWeights inputWeights;
  at::Tensor qkv;
  kernels::Attention attention;
  kernels::Norm attentionNorm, outputNorm;  // without y
  at::Tensor up;                            // before bias and activation
};

// x [T, H] -> [T, H]. `tape` is filled where it is given.
at::Tensor layerForward(const at::Tensor& x, const LayerWeights& weights, const LayerOptions& options,
                        const kernels::Sequences& sequences, LayerTape* tape);
// dL/dx; adds to the gradients of the weights.
at::Tensor layerBackward(const at::Tensor& dy, LayerTape tape, const LayerWeights& weights,
                         const LayerOptions& options, const kernels::Sequences& sequences);

// gradient += a^T b, in the gradient's own type.
void addProduct(const at::Tensor& gradient, const at::Tensor& a, const at::Tensor& b);

}  // namespace gradcache
