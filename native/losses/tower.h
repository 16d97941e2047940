// One tower of a loss: its representations as they are compared, and their gradient.
#pragma once

#include <ATen/ATen.h>

namespace gradcache {

class Tower {
 public:
  // `representations` are [n, d]. For the cosine, rows are compared at length 1.
  Tower(const at::Tensor& representations, bool cosine);

  int64_t rows() const { return rows_.size(0); }
  // The greatest length of a row as it is compared. Waits for the device.
  double greatestLength() const;
  // Some rows as they are compared, [count, d]; not to be written.
  at::Tensor compared(int64_t begin, int64_t count) const;
  // dL/d(rows as they are compared), [count, d], to be added to.
  at::Tensor gradient(int64_t begin, int64_t count);

  // dL/d(representations) times `weight`, once everything is added. The tower has no gradient afterwards.
  at::Tensor takeGradient(double weight);

 private:
  at::Tensor rows_;
  at::Tensor gradient_;  // undefined until it is first asked for
  at::Tensor inverse_;   // [n, 1]: 1 / length, or undefined for the dot product
  at::Tensor unit_;      // rows of length 1, where they are few enough to be kept
};

}  // namespace gradcache
