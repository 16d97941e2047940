#include <cmath>
#include <numbers>

#include "kernels/scores/versions.h"

namespace gradcache::kernels::composite {

namespace {

// Scores in powers of two, minus infinity for pairs that are left out.
at::Tensor powersOf(const Scores& scores) {
  const int64_t rows = scores.rows.size(0), columns = scores.columns.size(0);
  at::Tensor powers = at::mm(scores.rows.to(at::kFloat), scores.columns.to(at::kFloat).t())
                          .mul_(scores.factor * std::numbers::log2e);
  const at::TensorOptions whole = powers.options().dtype(at::kLong);
  const at::Tensor row = at::arange(rows, whole).unsqueeze(1), column = at::arange(columns, whole);
  if (scores.leftOut) powers.masked_fill_(column.sub(row).eq(*scores.leftOut), -INFINITY);
  if (!scores.targets.defined()) return powers;
  for (const at::Tensor& list : scores.targets.to(at::kLong).sub_(scores.firstColumn).unbind())
    powers.masked_fill_(column.eq(list.unsqueeze(1)), -INFINITY);
  return powers;
}

void write(const ScoreTile& target, const at::Tensor& numbers) {
  target.whole.copy_(numbers);
  if (target.rest.defined()) target.rest.copy_(numbers.sub(target.whole));
}

void add(const at::Tensor& powers, int64_t along, const at::Tensor& sums) {
  at::Tensor reference = sums.select(1, 0), sum = sums.select(1, 1);
  const at::Tensor greatest = at::maximum(reference, powers.amax({along}));
  // Where there is no score at all, any reference will do.
  const at::Tensor from = greatest.masked_fill(greatest.isinf(), 0);
  sum.mul_(reference.sub(from).exp2_()).add_(powers.sub(from.unsqueeze(along)).exp2_().sum({along}));
  reference.copy_(greatest);
}

}  // namespace

void addScoreSums(const Scores& scores, const at::Tensor& rows, const at::Tensor& columns) {
  const at::Tensor powers = powersOf(scores);
  add(powers, 1, rows);
  if (columns.defined()) add(powers, 0, columns);
}

void scoreProbabilities(const Scores& scores, const at::Tensor& rowNormalizers,
                        const at::Tensor& columnNormalizers, const ScoreTile& target) {
  const at::Tensor powers = powersOf(scores);
  const auto inPowers = [](const at::Tensor& normalizers) {
    return normalizers.mul(std::numbers::log2e).to(at::kFloat);
  };
  at::Tensor probabilities = powers.sub(inPowers(rowNormalizers).unsqueeze(1)).exp2_();
  if (columnNormalizers.defined()) probabilities.add_(powers.sub(inPowers(columnNormalizers)).exp2_());
  write(target, probabilities);
}

SigmoidSums scoreSigmoids(const Scores& scores, double bias, double weight, const ScoreTile& target) {
  const at::Tensor z = powersOf(scores).mul_(std::numbers::ln2).add_(bias), sigmoids = z.sigmoid();
  write(target, sigmoids.mul(weight));
  // From here on log(1 + exp(x)) is x in float32.
  constexpr double kLinear = 20;
  return {at::softplus(z, 1, kLinear).sum({1}, false, at::kDouble), sigmoids.sum({1}, false, at::kDouble)};
}

}  // namespace gradcache::kernels::composite
