// Statistics of the rows or of the columns of scores, put together from tiles in any order.
#pragma once

#include <ATen/ATen.h>

#include "losses/share.h"

namespace gradcache {

// In each add(), `scores` [rows, columns] are those of a tile. `along` is 1 for a number of each row, 0 for
// one of each column. `begin` is the place of the tile's first row or column among the `count` that there
// are.

// log sum exp, without overflow.
class LogSumExp {
 public:
  LogSumExp(int64_t count, const at::TensorOptions& numbers);
  void add(const at::Tensor& scores, int64_t along, int64_t begin);
  // Adds what other processes have found of the same rows or columns. `share` null: there are none.
  void complete(const Share* share);
  at::Tensor value() const { return sum_.log().add_(greatest_); }  // [count]

 private:
  at::Tensor greatest_, sum_;  // the sum is of exp(score - greatest)
  at::Tensor scratch_;         // as large as a tile
};

// The greatest score, and where it is: of several equal ones, the first that was added.
class Greatest {
 public:
  Greatest(int64_t count, const at::TensorOptions& numbers);
  // `first` is the number of the tile's first column where `along` is 1, of its first row where it is 0.
  void add(const at::Tensor& scores, int64_t along, int64_t begin, int64_t first);
  const at::Tensor& value() const { return value_; }  // [count]
  const at::Tensor& place() const { return place_; }  // int64 [count]; -1 before any score

 private:
  at::Tensor value_, place_;
};

// log sum exp of what processes have found each, in place. `share` null: there is one.
void completeLogSumExp(const at::Tensor& found, const Share* share);

// log sum exp of the `numbers` of each of `count` places; `places` (int64, of the same shape) says whose each
// is. Minus infinity where there is none.
at::Tensor logSumExpAt(const at::Tensor& numbers, const at::Tensor& places, int64_t count);

}  // namespace gradcache
