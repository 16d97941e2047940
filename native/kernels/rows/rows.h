// Sums of rows: into one row, and into rows of a table.
#pragma once

#include <ATen/ATen.h>

namespace gradcache::kernels {

// gradient += the sum over tokens of rows [T, H].
void addColumnSum(const at::Tensor& gradient, const at::Tensor& rows);
// table[indices[t]] += rows[t], in a fixed order.
void addRows(const at::Tensor& table, const at::Tensor& indices, const at::Tensor& rows);

}  // namespace gradcache::kernels
