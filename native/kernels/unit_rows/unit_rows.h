// Rows as kernels/scores takes them, from rows and the factors that bring them to length 1; and the
// gradient's way back through that.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace gradcache::kernels {

// What an operand holds of a row, in parts of paddedWidth (scores.h).
enum class Parts : int32_t {
  kWhole = 0,    // the row, rounded
  kLowHighHigh,  // three parts of float16: `high` is a whole number, and `low` is what it lacks
  kHighLowHigh,  // the same in another order, so that the two make a product of 22 bits
};

// rows [n, d] float32, times their `factors` [n, 1] (undefined: 1) and `scale`, in half precision, 0 beyond
// d.
void writeOperand(const at::Tensor& rows, const at::Tensor& factors, double scale, Parts parts,
                  at::Tensor operand);

// From dL/d(row * factor), where that has length 1, to dL/d(row) times `weight`, in place: [n, d].
void unitGradient(const at::Tensor& rows, const at::Tensor& factors, double weight, at::Tensor gradient);

}  // namespace gradcache::kernels
