// Exponentials of a tile of scores, and what a softmax makes of them, in one pass over the numbers.
#pragma once

#include <ATen/ATen.h>

namespace gradcache::kernels {

// scores [r, c], contiguous, becomes its exponentials. Returns their sums over columns, [r]. Scores lie
// between -87 and 88 in float32, between -708 and 709 in float64.
at::Tensor exponentials(const at::Tensor& scores);

// scores [r, c], contiguous, becomes its exponentials times `rows` [r] plus `columns` [c]. One of them may be
// undefined.
void weighedExponentials(const at::Tensor& scores, const at::Tensor& rows, const at::Tensor& columns);

}  // namespace gradcache::kernels
