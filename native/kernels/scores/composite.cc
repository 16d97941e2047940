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
  if (scores.targets.defined()) {
    const at::Tensor target = scores.targets.to(at::kLong).sub_(scores.firstColumn).unsqueeze(1);
    powers.masked_fill_(column.eq(target), -INFINITY);
  }
  return powers;
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
                        const at::Tensor& columnNormalizers, const at::Tensor& target) {
  const at::Tensor powers = powersOf(scores);
  const auto inPowers = [](const at::Tensor& normalizers) {
    return normalizers.mul(std::numbers::log2e).to(at::kFloat);
  };
  at::Tensor probabilities = powers.sub(inPowers(rowNormalizers).unsqueeze(1)).exp2_();
  if (columnNormalizers.defined()) probabilities.add_(powers.sub(inPowers(columnNormalizers)).exp2_());
  target.copy_(probabilities);
}

}  // namespace gradcache::kernels::composite
