// The embeddings of tokens, with their norm and dropout.
#pragma once

#include <ATen/ATen.h>

#include "core/dropout_key.h"
#include "kernels/norm/norm.h"

namespace gradcache::kernels {

struct Embedding {
  at::Tensor words, positions;  // tables [rows, H]
  at::Tensor type;              // [H], or undefined
  at::Tensor ids, places;       // int64 [T]: rows of the two tables
};
// y = dropout(norm(words[ids] + positions[places] + type)); `sum` and the statistics as in norm.
Norm embed(const Embedding& embedding, const NormWeights& weights, const DropoutKey& key, bool save);
// dL/d(sum), [T, H]; adds to the gradients of scale and shift, and its own sum over tokens to that of type
// where defined.
at::Tensor embedBackward(const at::Tensor& dy, const Norm& saved, const NormWeights& weights,
                         const DropoutKey& key, const at::Tensor& scaleGradient,
                         const at::Tensor& shiftGradient, const at::Tensor& typeGradient);

}  // namespace gradcache::kernels
