// Attention over packed sequences.
#pragma once

#include <ATen/ATen.h>

#include "core/dropout_key.h"
#include "kernels/sequences.h"

namespace gradcache::kernels {

struct Attention {
  at::Tensor out;                            // [T, H]
  at::Tensor normalizer;                     // [heads, T]: log of the softmax's denominator; undefined where
                                             // backward computes it again
  at::Tensor randomState{}, randomUnused{};  // of flash attention's dropout
};
// qkv [T, 3 H]: queries, keys, values of all heads. `distanceBias` [heads, 2 * longest - 1] or undefined is
// added to the scores at key position - query position + longest - 1. Scores are scaled by 1 / sqrt(H /
// heads).
Attention attention(const at::Tensor& qkv, const Sequences& sequences, int64_t heads,
                    const at::Tensor& distanceBias, const DropoutKey& key);
// Returns dL/dqkv; adds to the gradient of distanceBias if defined.
at::Tensor attentionBackward(const at::Tensor& dout, const at::Tensor& qkv, const Attention& saved,
                             const Sequences& sequences, int64_t heads, const at::Tensor& distanceBias,
                             const DropoutKey& key, const at::Tensor& distanceBiasGradient);

}  // namespace gradcache::kernels
