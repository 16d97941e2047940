// What all pairs of a strip have in common, without a sweep over their scores: sums of scores are dot
// products with sums of rows, and a gradient that is the same for all pairs of a row or a column goes back
// the same way. Label smoothing takes both. Pairs of rows that the strip does not visit are not there.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "losses/similarity.h"

namespace gradcache {

class AllPairs {
 public:
  explicit AllPairs(Strip& strip);

  // The sums over all pairs of each of the strip's rows, or columns, of the scale times the dot product, more
  // `bias`; float64.
  at::Tensor rowSums(double bias) const;
  at::Tensor columnSums(double bias) const;

  // Adds what follows from dL/dscore of each pair: ofRows[i] + ofColumns[j], float64; undefined: 0.
  void addGradient(const at::Tensor& ofRows, const at::Tensor& ofColumns);

 private:
  // Some rows of a tower, and the place of the first among those of its side.
  struct Part {
    int64_t tower = 0, begin = 0, count = 0, place = 0;
  };
  using Side = std::vector<Part>;
  // The rows of a side that are taken at once.
  void slices(const Side& side, const std::function<void(const Part&)>& visit) const;
  // The sum of the rows of a side, each times its factor; float64 [d]. Undefined factors are 1.
  at::Tensor total(const Side& side, const at::Tensor& factors) const;
  // The same of all processes, where each holds its own rows.
  at::Tensor joined(const at::Tensor& total) const;
  // The scale times the dot product of each row of a side with `with`; 0 for rows that are not visited.
  at::Tensor products(const Side& side, int64_t count, const at::Tensor& with, double more) const;
  // Adds to the gradients of a side the scale times (factors[i] * each + same). Some may be undefined.
  void add(const Side& side, const at::Tensor& factors, const at::Tensor& each, const at::Tensor& same);

  const Strip& strip_;
  Similarity& similarity_;
  Side rows_, columns_;  // what is here of them
};

}  // namespace gradcache
