// Cosines of rows with columns, from their dot products, and the way back.
#pragma once

#include <ATen/ATen.h>

namespace gradcache::kernels {

// What dot products [r, c] are multiplied by: 1 / length of each row, times a scale, and of each column.
struct CosineFactors {
  at::Tensor rows, columns;  // [r] and [c], contiguous, of the type of the dot products
};

// target = dots * factors + bias. Both are [r, c] and contiguous; they may be the same.
void cosines(const at::Tensor& target, const at::Tensor& dots, const CosineFactors& factors, double bias);

// The gradient of dot products, `weight` * factors * that of their cosines, and what the lengths of rows and
// columns lose by it: its product with the dot products, summed over columns and over rows.
//
// The gradient is added to `sum`, or written there where `begins`. The sums over rows are added to
// `ofColumns` [c]; those over columns are returned, [r].
at::Tensor addDotGradient(const at::Tensor& sum, bool begins, const at::Tensor& ofCosines,
                          const at::Tensor& dots, const CosineFactors& factors, double weight,
                          const at::Tensor& ofColumns);

}  // namespace gradcache::kernels
