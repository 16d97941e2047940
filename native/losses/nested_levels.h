// The sweeps of softmaxes at several lengths of the representations (levels.h) by kernels that build scores
// up from one length to the next (kernels/nested_scores).
//
// Rows are operands at length 1 as a whole; at a shorter length a factor of each makes the dot product a
// cosine. What a length gives the numbers that a shorter one has too is added to that one's before the
// product, for two neighbours at a time if they are alike, so that fewer numbers are multiplied than at each
// length alone.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "kernels/nested_scores/nested_scores.h"
#include "losses/rectangles.h"

namespace gradcache {

class NestedLevels {
 public:
  // `longest` has the numbers of all lengths, which rise, and `width` is that of the representations.
  // `inverses` are 1 / length of the rows of each tower at each length, [lengths][towers]. Waits for the
  // device.
  NestedLevels(Similarity& longest, int64_t width, std::vector<int64_t> lengths, std::vector<double> weights,
               const std::vector<std::vector<at::Tensor>>& inverses);

  // Of ranks that share a loss all say the same.
  bool takes(const Rectangles& rectangles) const;
  // For each length. The rectangles are those of the longest.
  std::vector<JointSums> sums(const Rectangles& rectangles, bool ofColumns) const;
  // False: nothing was added, as the normalizers are too far from one another.
  bool addGradient(const Rectangles& rectangles, const std::vector<JointGradient>& gradients);

  // dL/d(representations) of the weighted sum, [rows, width]; undefined where nothing was added. For once.
  at::Tensor takeGradient(int64_t tower);
  // dL/d(log scale) of that, float64.
  const at::Tensor& scaleSlope() const { return scaleSlope_; }

 private:
  // Lengths whose gradients are multiplied together: one, or two neighbours.
  struct Group {
    size_t first, last;
  };
  // What a tower has of them.
  struct TowerGradient {
    // dL/d(numbers), [rows, length of the group's last]; of the last group [rows, width].
    std::vector<at::Tensor> groups;
    at::Tensor turns;  // [lengths, rows]: see kernels/nested_scores, of lengths that are joined
  };

  // Joins neighbours whose greatest numbers are alike. Once, before the first gradient.
  void group(const std::vector<double>& greatest);
  kernels::NestedScores nested(const kernels::Scores& scores, const Rectangles::Place& place,
                               const Strip& strip) const;
  TowerGradient& gradientOf(int64_t tower);
  int64_t count() const { return static_cast<int64_t>(lengths_.size()); }

  Similarity& longest_;
  const int64_t width_;
  const std::vector<int64_t> lengths_;
  const std::vector<double> weights_;
  std::vector<Group> groups_;
  uint32_t joined_ = 0;
  std::vector<at::Tensor> factors_;      // of each tower: [lengths, rows]
  std::vector<double> greatestFactors_;  // of a row times a column, at each length
  bool able_ = false;                    // whether factors and weights are such as kernels take
  std::vector<TowerGradient> gradients_;
  at::Tensor scaleSlope_;
};

}  // namespace gradcache
