// The loss of a softmax over many words, in tiles of rows: the logits of all rows, [n, words], are never held
// at once. The backward computes them again.
#pragma once

#include <ATen/ATen.h>

namespace gradcache {

struct SoftmaxWeights {
  at::Tensor vectors;  // [words, width], in the type that computes
  at::Tensor bias;     // [words], or undefined
  // The target's logit is lowered by noise |vector| |row|: what the worst change of the target's vector by
  // that share of its length takes away (Wang et al. 2019).
  double noise = 0;
};

struct SoftmaxLosses {
  at::Tensor losses;      // [n]: negative log-likelihoods of the targets, float32 (float64)
  at::Tensor normalizer;  // [n], for the backward
};

// `rows` is [n, width], `targets` int64 [n].
SoftmaxLosses softmaxLosses(const at::Tensor& rows, const at::Tensor& targets, const SoftmaxWeights& weights);
// dL/d(rows) for L = seed * the sum of the losses. Adds to the gradients of the weights.
at::Tensor softmaxBackward(double seed, const at::Tensor& rows, const at::Tensor& targets,
                           const at::Tensor& normalizer, const SoftmaxWeights& weights,
                           const at::Tensor& vectorGradient, const at::Tensor& biasGradient);
// Logits of all words, [n, words], float32 (float64).
at::Tensor softmaxLogits(const at::Tensor& rows, const SoftmaxWeights& weights);

}  // namespace gradcache
