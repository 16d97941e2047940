// The softmax of attention that is composed of matrix products, with what is around it.
#pragma once

#include <ATen/ATen.h>

#include "core/dropout_key.h"

namespace gradcache::kernels {

// Of scores [n, heads, queries, keys].
struct PairRows {
  at::Tensor seen;     // bool [n, keys]; undefined: all are
  at::Tensor numbers;  // int64 [n, heads, queries], by which dropout counts
};

// dropout(softmax(scores)) over the keys that are seen. May write over the scores.
at::Tensor droppedSoftmax(at::Tensor scores, const PairRows& rows, const DropoutKey& key);

struct SoftmaxGradients {
  at::Tensor p;       // the forward's output
  at::Tensor scores;  // dL/dscores
};
// From dp = dL/dp. May write over both.
SoftmaxGradients droppedSoftmaxBackward(at::Tensor dp, at::Tensor scores, const PairRows& rows,
                                        const DropoutKey& key);

}  // namespace gradcache::kernels
