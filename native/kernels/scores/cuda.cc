#include <numbers>

#include "kernels/cuda/scores.h"
#include "kernels/scores/versions.h"

namespace gradcache::kernels::cuda {

namespace {

at::Tensor inPowers(const at::Tensor& normalizers) {
  return normalizers.mul(std::numbers::log2e).to(at::kFloat);
}

}  // namespace

bool takesScores(const Scores& scores) { return scores.rows.is_cuda() && libraryIsOpen(); }

void addScoreSums(const Scores& scores, const at::Tensor& rows, const at::Tensor& columns) {
  const GradcacheScores s = describe(scores);
  at::Tensor work = scratch(library().scoresStatisticsScratch(&s, columns.defined()), scores.rows);
  check(library().scoresStatistics(&s, floats(rows), floats(columns), output(work)), "sums of scores");
}

void scoreProbabilities(const Scores& scores, const at::Tensor& rowNormalizers,
                        const at::Tensor& columnNormalizers, const ScoreTile& target) {
  const GradcacheScores s = describe(scores);
  const at::Tensor rows = inPowers(rowNormalizers);
  at::Tensor columns;
  if (columnNormalizers.defined()) columns = inPowers(columnNormalizers);
  at::Tensor work = scratch(library().scoresProbabilitiesScratch(&s), scores.rows);
  check(library().scoresProbabilities(
            &s, rows.const_data_ptr<float>(), columns.defined() ? columns.const_data_ptr<float>() : nullptr,
            output(target.whole), output(target.rest), target.whole.stride(0), output(work)),
        "probabilities of scores");
}

SigmoidSums scoreSigmoids(const Scores& scores, double bias, double weight, const ScoreTile& target) {
  const GradcacheScores s = describe(scores);
  const at::TensorOptions numbers = scores.rows.options().dtype(at::kFloat);
  const at::Tensor losses = at::zeros({scores.rows.size(0)}, numbers), sums = at::zeros_like(losses);
  at::Tensor work = scratch(library().scoresSigmoidScratch(&s), scores.rows);
  check(
      library().scoresSigmoid(&s, bias, static_cast<float>(weight), output(target.whole), output(target.rest),
                              target.whole.stride(0), floats(losses), floats(sums), output(work)),
      "sigmoids of scores");
  return {losses.to(at::kDouble), sums.to(at::kDouble).div_(weight)};
}

}  // namespace gradcache::kernels::cuda
