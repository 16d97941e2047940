// The multi-similarity loss (Wang et al. 2019). For each row, with its positives p and negatives n,
//
//   1/alpha log(1 + sum exp(-alpha (s_p - base))) + 1/beta log(1 + sum exp(beta (s_n - base))),
//
// the mean over rows. With mining, only negatives nearer than the farthest positive less epsilon count, and
// positives farther than the nearest negative and epsilon.
#include <cmath>
#include <memory>

#include "losses/chosen.h"
#include "losses/classes.h"
#include "losses/losses.h"
#include "losses/statistics.h"

namespace gradcache {

namespace {

class MultiSimilarity final : public TiledLoss {
 public:
  explicit MultiSimilarity(const Settings& settings)
      : alpha_(settings.number("alpha")),
        beta_(settings.number("beta")),
        base_(settings.number("base")),
        mines_(settings.has("epsilon")),
        epsilon_(mines_ ? settings.number("epsilon") : 0),
        classes_(settings) {}

  void compute(Similarity& similarity, LossSums& sums) override {
    std::vector<Pairing> pairings = classes_.pairings(similarity);
    for (size_t k = 0; k < pairings.size(); ++k) {
      pairings[k].eachStrip(
          [&](Strip& strip) { add(strip, static_cast<int64_t>(k), similarity.numbers(), sums); });
    }
  }

 private:
  // Bounds of what counts, for each row of a strip.
  struct Bounds {
    at::Tensor positivesBelow, negativesAbove;
  };

  void add(Strip& strip, int64_t tower, const at::TensorOptions& numbers, LossSums& sums) const {
    const Bounds bounds = mines_ ? mine(strip, tower, numbers) : Bounds{};
    LogSumExp drawn(strip.rows(), numbers), pushed(strip.rows(), numbers);
    strip.sweep([&](const Tile& tile) {
      const int64_t row = tile.row - strip.begin();
      drawn.add(positives(tile, tower, bounds, row), 1, row);
      pushed.add(negatives(tile, tower, bounds, row), 1, row);
    });
    // log(1 + sum exp)
    const at::Tensor ofPositives = at::softplus(drawn.value(), 1, kLinear);
    const at::Tensor ofNegatives = at::softplus(pushed.value(), 1, kLinear);
    const auto count = static_cast<double>(classes_.rows());
    sums.addLoss(ofPositives.sum(at::kDouble).div(alpha_ * count));
    sums.addLoss(ofNegatives.sum(at::kDouble).div(beta_ * count));
    strip.gradients([&](const Tile& tile) {
      const int64_t row = tile.row - strip.begin();
      const auto share = [&](at::Tensor logits, const at::Tensor& normalizer) {
        return logits.sub_(normalizer.narrow(0, row, tile.rows).unsqueeze(1)).exp_();
      };
      const at::Tensor pulls = share(positives(tile, tower, bounds, row), ofPositives);
      return share(negatives(tile, tower, bounds, row), ofNegatives).sub_(pulls).div_(count);
    });
  }

  Bounds mine(Strip& strip, int64_t tower, const at::TensorOptions& numbers) const {
    at::Tensor farthest = at::full({strip.rows()}, INFINITY, numbers);
    at::Tensor nearest = at::full({strip.rows()}, -INFINITY, numbers);
    strip.sweep([&](const Tile& tile) {
      const int64_t row = tile.row - strip.begin();
      at::Tensor least = farthest.narrow(0, row, tile.rows), most = nearest.narrow(0, row, tile.rows);
      const at::Tensor same = classes_.same(tower, tile), different = classes_.different(tower, tile);
      least.copy_(at::minimum(least, tile.scores.masked_fill(same.logical_not(), INFINITY).amin({1})));
      most.copy_(at::maximum(most, tile.scores.masked_fill(different.logical_not(), -INFINITY).amax({1})));
    });
    return {nearest.add_(epsilon_), farthest.sub_(epsilon_)};
  }

  // The exponents of the positives, and of the negatives: kLeftOut for all other pairs.
  at::Tensor positives(const Tile& tile, int64_t tower, const Bounds& bounds, int64_t row) const {
    at::Tensor counts = classes_.same(tower, tile);
    if (mines_)
      counts.logical_and_(tile.scores.lt(bounds.positivesBelow.narrow(0, row, tile.rows).unsqueeze(1)));
    return tile.scores.sub(base_).mul_(-alpha_).masked_fill_(counts.logical_not_(), kLeftOut);
  }
  at::Tensor negatives(const Tile& tile, int64_t tower, const Bounds& bounds, int64_t row) const {
    at::Tensor counts = classes_.different(tower, tile);
    if (mines_)
      counts.logical_and_(tile.scores.gt(bounds.negativesAbove.narrow(0, row, tile.rows).unsqueeze(1)));
    return tile.scores.sub(base_).mul_(beta_).masked_fill_(counts.logical_not_(), kLeftOut);
  }

  // From here on log(1 + exp(x)) is x in float64.
  static constexpr double kLinear = 40;

  const double alpha_, beta_, base_;
  const bool mines_;
  const double epsilon_;
  Classes classes_;
};

}  // namespace

std::unique_ptr<TiledLoss> multiSimilarity(const Settings& settings) {
  return std::make_unique<MultiSimilarity>(settings);
}

}  // namespace gradcache
