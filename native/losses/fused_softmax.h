// The two sweeps of a softmax (softmax.h) in half precision, for a fast measure. kernels/scores makes
// probabilities of rectangles of scores on the chip, and libtorch's products gradients of those.
//
// Rows are compared in float16 where their length is 1, else in bfloat16, which has their range. Statistics
// are in float64. Both sweeps leave the positive of a row out: where it dominates, what is left of its
// gradient is a small 1 - p, which half precision would lose. Its part is computed from float32 rows.
#pragma once

#include <ATen/ATen.h>

#include <optional>

#include "kernels/scores/scores.h"
#include "losses/dense_tower.h"
#include "losses/softmax_parts.h"

namespace gradcache {

class FusedSoftmax {
 public:
  // Throws INPUT for what these sweeps cannot: logits that are changed, more than one positive of a row or
  // pair that it leaves out (but any on a diagonal beside one of each row).
  FusedSoftmax(Strip& strip, const Logits& logits, const Chosen& positives);

  SoftmaxStatistics statistics(const Wanted& wanted);
  // After statistics() of the same strip.
  void addGradient(const SoftmaxGradient& gradient);

 private:
  struct Span {
    int64_t begin = 0, count = 0;
  };
  static std::vector<Span> spans(int64_t count, int64_t most, int64_t first = 0);
  std::vector<Span> rowSpans(int64_t most) const;  // of the strip's rows that are visited
  at::Tensor at(const at::Tensor& numbers, const Span& rows) const;

  DenseTower& tower(int64_t number) const;
  DenseTower& rowTower() const { return tower(pairing_.rowTower_); }
  DenseTower& columnTower(size_t k) const { return tower(pairing_.columnTowers_[k]); }
  at::Tensor operand(const DenseTower& tower, const Span& span) const;
  kernels::Scores scoresOf(const at::Tensor& rows, const Span& ofRows, const at::Tensor& columns,
                           int64_t firstColumn) const;
  // Calls `visit` with the numbers of rows, and of rows of the k-th column tower that are their positives.
  void eachPositive(
      const std::function<void(const at::Tensor& rows, size_t k, const at::Tensor& places)>& visit);
  void addPositives(const SoftmaxGradient& gradient, const at::Tensor& normalizers,
                    const at::Tensor& columnNormalizers);
  at::Tensor targets() const { return positives_.columns().select(1, 0); }

  Strip& strip_;
  Pairing& pairing_;
  Similarity& similarity_;
  const Chosen& positives_;
  const at::ScalarType type_;        // of operands and probabilities
  std::optional<int64_t> diagonal_;  // pairs that the kernels leave out: (i, i + diagonal)
  at::Tensor places_;                // and (i, places[i]), int32; undefined: none
};

}  // namespace gradcache
