// The two sweeps of a softmax (softmax.h) by kernels, in rectangles (rectangles.h). Statistics are in
// float64.
//
// The sweeps leave out positives, and pairs whose logits are not a score times what all others are multiplied
// by. Those are computed one by one (singles.h).
#pragma once

#include <ATen/ATen.h>

#include "losses/rectangles.h"
#include "losses/singles.h"
#include "losses/softmax_parts.h"

namespace gradcache {

class FusedSoftmax {
 public:
  // Throws INPUT for what these sweeps cannot: changes of logits that only a loss knows.
  FusedSoftmax(Strip& strip, const Logits& logits, const Chosen& positives);

  SoftmaxStatistics statistics(const Wanted& wanted);
  // After statistics() of the same strip.
  void addGradient(const SoftmaxGradient& gradient);

 private:
  Rectangles rectangles(double scale) const;
  // What the softmax over rows multiplies scores by, but for those of the singles.
  double rowScale() const;
  // Logits of the singles without the bias, minus infinity for none; over columns where not `ofRows`.
  at::Tensor logitsOf(const at::Tensor& scores, bool ofRows) const;
  // log sum exp of the scores of the sweeps, without the bias.
  JointSums logSums(double scale, bool ofColumns) const;
  SoftmaxStatistics withSums(SoftmaxStatistics result, const Wanted& wanted) const;
  // One sweep for the gradients of both softmaxes; `greatest` is about the largest sum of probabilities.
  void sweepGradient(double scale, const at::Tensor& ofRows, const at::Tensor& ofColumns,
                     const at::Tensor& greatest);
  void addConstants(const SoftmaxGradient& gradient);
  double bias() const { return similarity_.measure().bias; }

  Strip& strip_;
  const Similarity& similarity_;
  const int64_t columnCount_;
  const Logits& logits_;
  int64_t positives_ = 0;  // that many of the singles' lists are positives
  Singles singles_;        // positives first
  Singles leftOut_;
};

}  // namespace gradcache
