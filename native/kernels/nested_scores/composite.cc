#include <functional>

#include "kernels/nested_scores/versions.h"

namespace gradcache::kernels::composite {

namespace {

// Visits each length with the dot products of its numbers [r, c]; and where no pair is.
void eachLength(const NestedScores& nested,
                const std::function<void(int64_t, const at::Tensor& dots)>& visit) {
  const at::Tensor rows = nested.scores.rows.to(at::kFloat), columns = nested.scores.columns.to(at::kFloat);
  at::Tensor dots = at::zeros({rows.size(0), columns.size(0)}, rows.options());
  int64_t begin = 0;
  for (size_t k = 0; k < nested.lengths.size(); ++k) {
    const int64_t width = nested.lengths[k] - begin;
    dots.addmm_(rows.narrow(1, begin, width), columns.narrow(1, begin, width).t());
    visit(static_cast<int64_t>(k), dots);
    begin = nested.lengths[k];
  }
}

// bool [r, c] of the pairs that are left out.
at::Tensor leftOutOf(const Scores& scores) {
  const at::TensorOptions whole = scores.rows.options().dtype(at::kLong);
  const at::Tensor row = at::arange(scores.rows.size(0), whole).unsqueeze(1),
                   column = at::arange(scores.columns.size(0), whole);
  at::Tensor out = at::zeros({scores.rows.size(0), scores.columns.size(0)}, whole.dtype(at::kBool));
  if (scores.leftOut) out.logical_or_(column.sub(row).eq(*scores.leftOut));
  if (!scores.targets.defined()) return out;
  for (const at::Tensor& list : scores.targets.to(at::kLong).sub_(scores.firstColumn).unbind())
    out.logical_or_(column.eq(list.unsqueeze(1)));
  return out;
}

at::Tensor scoresOf(const NestedScores& nested, int64_t k, const at::Tensor& dots,
                    const at::Tensor& leftOut) {
  return dots.mul(nested.rowFactors[k].mul(nested.scores.factor).unsqueeze(1))
      .mul_(nested.columnFactors[k])
      .masked_fill_(leftOut, -INFINITY);
}

}  // namespace

void addNestedSums(const NestedScores& nested, const at::Tensor& rows, const at::Tensor& columns) {
  const at::Tensor leftOut = leftOutOf(nested.scores);
  eachLength(nested, [&](int64_t k, const at::Tensor& dots) {
    const at::Tensor powers = scoresOf(nested, k, dots, leftOut).exp_();
    rows[k].add_(powers.sum({1}));
    if (columns.defined()) columns[k].add_(powers.sum({0}));
  });
}

void nestedTiles(const NestedScores& nested, const NestedGradients& of, const at::Tensor& tiles,
                 const at::Tensor& rowTurns, const at::Tensor& columnTurns) {
  const at::Tensor leftOut = leftOutOf(nested.scores);
  const int64_t r = leftOut.size(0), c = leftOut.size(1);
  const auto joins = [&](int64_t k) { return k >= 0 && (of.joined >> k & 1) != 0; };
  eachLength(nested, [&](int64_t k, const at::Tensor& dots) {
    const at::Tensor scores = scoresOf(nested, k, dots, leftOut);
    at::Tensor gradient = scores.sub(of.rowNormalizers[k].unsqueeze(1).to(at::kFloat)).exp_();
    if (of.columnNormalizers.defined())
      gradient.add_(scores.sub(of.columnNormalizers[k].to(at::kFloat)).exp_());
    gradient.mul_(nested.rowFactors[k].mul(of.weights[k]).unsqueeze(1)).mul_(nested.columnFactors[k]);
    const auto tile = [&](int64_t number) { return tiles[number].narrow(0, 0, r).narrow(1, 0, c); };
    tile(k).copy_(gradient);
    if (joins(k - 1)) tile(k - 1).add_(tile(k));
    if (!joins(k)) return;
    const at::Tensor turned = gradient.mul_(dots);
    rowTurns[k].add_(turned.sum({1}));
    columnTurns[k].add_(turned.sum({0}));
  });
}

}  // namespace gradcache::kernels::composite
