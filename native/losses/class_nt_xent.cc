// NT-Xent of rows with classes, as pytorch-metric-learning has it: each pair of one class against the first
// one's pairs of different classes. Other pairs of the class are not in the denominator.
//
//   loss of a pair = log(exp(score) + sum over negatives of exp(score)) - score, the mean over all pairs
#include <memory>

#include "losses/chosen.h"
#include "losses/classes.h"
#include "losses/losses.h"
#include "losses/statistics.h"

namespace gradcache {

namespace {

class ClassNtXent final : public TiledLoss {
 public:
  explicit ClassNtXent(const Settings& settings) : classes_(settings) {}

  void compute(Similarity& similarity, LossSums& sums) override {
    std::vector<Pairing> pairings = classes_.pairings(similarity);
    const at::TensorOptions& numbers = similarity.numbers();
    std::vector<at::Tensor> negatives;
    at::Tensor pairs = at::zeros({}, numbers.dtype(at::kDouble));
    for (size_t k = 0; k < pairings.size(); ++k) {
      const auto tower = static_cast<int64_t>(k);
      LogSumExp found(pairings[k].rows(), numbers);
      pairings[k].whole().sweep([&](const Tile& tile) {
        pairs.add_(classes_.same(tower, tile).sum());
        found.add(tile.scores.masked_fill(classes_.different(tower, tile).logical_not(), kLeftOut), 1,
                  tile.row);
      });
      negatives.push_back(found.value());
    }
    if (similarity.share() != nullptr) similarity.share()->sum(pairs);
    const at::Tensor count = pairs.clamp_min(1).to(numbers.dtype());
    for (size_t k = 0; k < pairings.size(); ++k)
      add(pairings[k], static_cast<int64_t>(k), negatives[k], count, sums);
  }

 private:
  // `negatives` are the log sum exp of each row's negatives.
  void add(Pairing& pairing, int64_t tower, const at::Tensor& negatives, const at::Tensor& count,
           LossSums& sums) const {
    const auto above = [&](const Tile& tile, const at::Tensor& scores) {  // of the negatives above a score
      return scores.neg().add_(negatives.narrow(0, tile.row, tile.rows).unsqueeze(1));
    };
    at::Tensor shares = at::zeros_like(negatives);  // of each row's negatives in the gradient
    pairing.whole().sweep([&](const Tile& tile) {
      const at::Tensor same = classes_.same(tower, tile).to(shares.dtype());
      const at::Tensor difference = above(tile, tile.scores);
      sums.addLoss(at::softplus(difference, 1, kLinear).mul_(same).div_(count).sum(at::kDouble));
      shares.narrow(0, tile.row, tile.rows).add_(difference.sigmoid().mul_(same).div_(count).sum({1}));
    });
    const at::Tensor normalizer = negatives.sub(shares.log());
    pairing.whole().gradients([&](const Tile& tile) {
      const at::Tensor same = classes_.same(tower, tile).to(shares.dtype());
      const at::Tensor others = classes_.different(tower, tile).logical_not();
      const at::Tensor drawn = above(tile, tile.scores).sigmoid_().mul_(same).div_(count);
      at::Tensor gradient = tile.scores.masked_fill_(others, kLeftOut);
      gradient.sub_(normalizer.narrow(0, tile.row, tile.rows).unsqueeze(1)).exp_();
      return gradient.sub_(drawn);
    });
  }

  // From here on log(1 + exp(x)) is x in float64.
  static constexpr double kLinear = 40;

  Classes classes_;
};

}  // namespace

std::unique_ptr<TiledLoss> classNtXent(const Settings& settings) {
  return std::make_unique<ClassNtXent>(settings);
}

}  // namespace gradcache
