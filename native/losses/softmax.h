// The two sweeps of a loss whose gradient is a softmax: over the rows of a pairing, over its columns, or over
// both.
//
//   dL/dscores = exp(score - normalizer of the row) + exp(score - normalizer of the column) - weight of a
//   positive
//
// A weight w of a row's softmax is part of its normalizer: log sum exp - log w. So is what a softmax over
// several pairings has in its denominator besides.
//
// Where the similarity has its products from kernels, fused_softmax.h computes them, and statistics are in
// float64.
#pragma once

#include "losses/chosen.h"
#include "losses/similarity.h"
#include "losses/softmax_parts.h"

namespace gradcache {

SoftmaxStatistics softmaxStatistics(Strip& strip, const Similarity& similarity, int64_t columns,
                                    const Logits& logits, const Chosen& positives, const Wanted& wanted);

void addSoftmaxGradient(Strip& strip, const Logits& logits, const Chosen& positives,
                        const SoftmaxGradient& gradient);

}  // namespace gradcache
