// Pooling: one representation of a sequence's tokens.
#pragma once

#include <ATen/ATen.h>

#include <string_view>

#include "kernels/sequences.h"

namespace gradcache::kernels {

enum class Pooling { kMean, kCls, kMax, kLast, kMeanSqrtLength, kWeightedMean };
// Throws INPUT unless the name is mean, cls, max, last, mean-sqrt-length or weighted-mean.
Pooling poolingNamed(std::string_view name);
constexpr double kLeastNorm = 1e-12;  // what a row is divided by, at least, where it is normalised

struct Pooled {
  at::Tensor y;       // [sequences, H], float32 (float64)
  at::Tensor norms;   // [sequences]: Euclidean, before they are divided by; undefined unless they are
  at::Tensor argmax;  // int32 [sequences, H]: the token that each maximum is from; undefined but for kMax
};
// One row for each sequence of x [T, H]: the mean of its tokens, their sum divided by the root of their
// number, their mean weighted by their places from 1 on, its first or last token, or each column's largest
// value (of the first token that has it; NaN counts as largest). Tokens that the sequences skip have no part
// in it; each needs one token more. `normalize` divides each row by its norm.
Pooled pool(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize);
// dL/dx [T, H] in `type`, the type of x; a maximum's gradient goes to its token. `saved.y` is needed only if
// rows were normalised.
at::Tensor poolBackward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences,
                        Pooling pooling, at::ScalarType type);

}  // namespace gradcache::kernels
