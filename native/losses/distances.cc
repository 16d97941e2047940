#include "losses/distances.h"

#include <limits>

namespace gradcache {

namespace {

// Squared distances below this part of a row's squared length are rounding alone.
double roundingOf(const at::TensorOptions& numbers) {
  return 64 * (numbers.dtype() == at::kFloat ? std::numeric_limits<float>::epsilon()
                                             : std::numeric_limits<double>::epsilon());
}

// Where distances are not 0, their reciprocals; else 0.
at::Tensor reciprocals(const at::Tensor& distances) {
  return distances.reciprocal().masked_fill_(distances.eq(0), 0);
}

}  // namespace

Distances::Distances(Similarity& similarity, bool euclidean)
    : similarity_(similarity), euclidean_(euclidean) {
  if (!euclidean_) return;
  const at::Tensor rows = tower().compared(0, similarity.rows(0));
  squares_ = at::linalg_vector_norm(rows, 2, at::IntArrayRef{1}).square_();
  pulls_ = at::zeros({similarity.rows(0)}, similarity.numbers());
}

DenseTower& Distances::tower() const { return *static_cast<DenseTower*>(similarity_.towers_[0].get()); }

at::Tensor Distances::nothing() const {
  return tower().compared(0, similarity_.rows(0)).sum(at::kDouble).mul_(0);
}

at::Tensor Distances::of(Strip& strip) const {
  at::Tensor distances = at::empty({strip.rows(), strip.columns()}, similarity_.numbers());
  const double rounding = roundingOf(similarity_.numbers());
  strip.sweep([&](const Tile& tile) {
    at::Tensor part =
        distances.narrow(0, tile.row - strip.begin(), tile.rows).narrow(1, tile.column, tile.columns);
    if (!euclidean_) {
      at::rsub_out(part, tile.scores, 1);
      return;
    }
    const at::Tensor own = squares_.narrow(0, tile.row, tile.rows).unsqueeze(1);
    at::sub_out(part, squares_.narrow(0, tile.column, tile.columns), tile.scores, 2).add_(own);
    part.masked_fill_(part.le(own.mul(rounding)), 0).sqrt_();
  });
  distances.diagonal(strip.begin()).fill_(0);
  return distances;
}

void Distances::addGradient(Strip& strip, const at::Tensor& distances, const at::Tensor& slopes) {
  if (!strip.hasGradients()) return;
  if (euclidean_) {
    slopes.mul_(reciprocals(distances));
    pulls_.narrow(0, strip.begin(), strip.rows()).add_(slopes.sum({1}));
    pulls_.add_(slopes.sum({0}));
  }
  // The score falls as the distance grows, by the distance itself or by its square's half.
  strip.gradients([&](const Tile& tile) {
    const at::Tensor part =
        slopes.narrow(0, tile.row - strip.begin(), tile.rows).narrow(1, tile.column, tile.columns);
    return tile.scores.copy_(part).neg_();
  });
}

Distances::Pairs Distances::ofPairs(const Strip& strip, const at::Tensor& places) const {
  Pairs pairs;
  pairs.places_ = places;
  pairs.rows_ = tower().comparedWide(strip.begin(), strip.rows());
  pairs.others_ = tower().comparedWideAt(places);
  pairs.values_ = euclidean_ ? at::linalg_vector_norm(pairs.rows_.sub(pairs.others_), 2, at::IntArrayRef{1})
                             : pairs.rows_.mul(pairs.others_).sum({1}).neg_().add_(1);
  return pairs;
}

void Distances::addGradient(const Strip& strip, const Pairs& pairs, const at::Tensor& slopes) {
  if (!strip.hasGradients()) return;
  const auto add = [&](const at::Tensor& toRows, const at::Tensor& toOthers) {
    const auto type = similarity_.numbers().dtype();
    tower().add(strip.begin(), toRows.to(type), 1);
    tower().addAt(pairs.places_, toOthers.to(type), false);
  };
  if (euclidean_) {
    const at::Tensor along =
        pairs.rows_.sub(pairs.others_).mul_(slopes.mul(reciprocals(pairs.values_)).unsqueeze(1));
    return add(along, along.neg());
  }
  const at::Tensor falling = slopes.neg().unsqueeze(1);
  add(pairs.others_.mul(falling), pairs.rows_.mul(falling));
}

void Distances::finish() {
  if (!euclidean_ || !similarity_.trains(0)) return;
  const at::Tensor factors = pulls_.unsqueeze(1);
  tower().gradient(0, similarity_.rows(0)).addcmul_(tower().compared(0, similarity_.rows(0)), factors);
}

}  // namespace gradcache
