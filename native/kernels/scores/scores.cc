#include "kernels/scores/scores.h"

#include <cmath>
#include <numbers>

#include "kernels/scores/versions.h"

namespace gradcache::kernels {

// A sum is two floats, as in cuda/kernels.h: log2(sum) = [0] + log2([1]).
at::Tensor noScoreSums(int64_t count, const at::Device& device) {
  at::Tensor sums = at::zeros({count, 2}, at::device(device).dtype(at::kFloat));
  sums.select(1, 0).fill_(-INFINITY);
  return sums;
}

at::Tensor logOfScoreSums(const at::Tensor& sums) {
  const at::Tensor wide = sums.to(at::kDouble);
  return wide.select(1, 1).log2().add_(wide.select(1, 0)).mul_(std::numbers::ln2);
}

void addScoreSums(const Scores& scores, const at::Tensor& rows, const at::Tensor& columns) {
  cuda::takesScores(scores) ? cuda::addScoreSums(scores, rows, columns)
                            : composite::addScoreSums(scores, rows, columns);
}

void scoreProbabilities(const Scores& scores, const at::Tensor& rowNormalizers,
                        const at::Tensor& columnNormalizers, const ScoreTile& target) {
  cuda::takesScores(scores)
      ? cuda::scoreProbabilities(scores, rowNormalizers, columnNormalizers, target)
      : composite::scoreProbabilities(scores, rowNormalizers, columnNormalizers, target);
}

SigmoidSums scoreSigmoids(const Scores& scores, double bias, double weight, const ScoreTile& target) {
  return cuda::takesScores(scores) ? cuda::scoreSigmoids(scores, bias, weight, target)
                                   : composite::scoreSigmoids(scores, bias, weight, target);
}

// libtorch has products with another type of result on CUDA alone.
void addHalfProduct(at::Tensor target, const at::Tensor& left, const at::Tensor& right, double factor) {
  if (target.is_cuda()) {
    at::addmm_out(target, target, left, right, at::kFloat, 1, factor);
  } else {
    target.addmm_(left.to(at::kFloat), right.to(at::kFloat), 1, factor);
  }
}

at::Tensor halfProduct(const at::Tensor& left, const at::Tensor& right) {
  return left.is_cuda() ? at::mm(left, right, at::kFloat) : at::mm(left.to(at::kFloat), right.to(at::kFloat));
}

}  // namespace gradcache::kernels
