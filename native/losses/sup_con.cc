// Supervised contrastive learning (Khosla et al. 2020, L_out): an anchor is to find the rows of its class
// among all others.
//
//   loss of an anchor = log sum exp of its scores - mean of its positives' scores
//
// The mean is taken over anchors whose loss is above 0: those without a positive have none.
#include <memory>

#include "losses/chosen.h"
#include "losses/classes.h"
#include "losses/losses.h"
#include "losses/statistics.h"

namespace gradcache {

namespace {

class SupCon final : public TiledLoss {
 public:
  explicit SupCon(const Settings& settings) : classes_(settings) {}

  void compute(Similarity& similarity, LossSums& sums) override {
    std::vector<Pairing> pairings = classes_.pairings(similarity);
    std::vector<Anchors> all;
    at::Tensor counted = at::zeros({}, similarity.numbers());
    for (size_t tower = 0; tower < pairings.size(); ++tower) {
      all.push_back(statistics(pairings[tower], static_cast<int64_t>(tower), similarity));
      counted.add_(all.back().losses.gt(0).sum());
    }
    if (similarity.share() != nullptr) similarity.share()->sum(counted);
    counted.clamp_min_(1);
    for (size_t tower = 0; tower < pairings.size(); ++tower)
      add(pairings[tower], static_cast<int64_t>(tower), all[tower], counted, sums);
  }

 private:
  // Numbers of the rows of one tower.
  struct Anchors {
    at::Tensor logSumExp, positives, losses;  // `positives`: how many there are, at least 1
  };

  Anchors statistics(Pairing& pairing, int64_t tower, const Similarity& similarity) const {
    LogSumExp logSumExp(pairing.rows(), similarity.numbers());
    at::Tensor sums = at::zeros({pairing.rows()}, similarity.numbers());
    at::Tensor positives = at::zeros_like(sums);
    pairing.whole().sweep([&](const Tile& tile) {
      const at::Tensor same = classes_.same(tower, tile).to(sums.dtype());
      positives.narrow(0, tile.row, tile.rows).add_(same.sum({1}));
      sums.narrow(0, tile.row, tile.rows).add_(tile.scores.mul(same).sum({1}));
      at::Tensor others = tile.scores.clone();
      classes_.selves(tower, tile, others).fill_(kLeftOut);
      logSumExp.add(others, 1, tile.row);
    });
    const at::Tensor has = positives.gt(0);
    positives.clamp_min_(1);
    const at::Tensor value = logSumExp.value();
    return {value, positives, at::where(has, value.sub(sums.div(positives)), at::zeros_like(value))};
  }

  void add(Pairing& pairing, int64_t tower, const Anchors& anchors, const at::Tensor& counted,
           LossSums& sums) const {
    sums.addLoss(anchors.losses.div(counted).clamp_min(0).sum(at::kDouble));
    const at::Tensor weights = anchors.losses.gt(0).to(counted.dtype()).div_(counted);
    const at::Tensor normalizer = anchors.logSumExp.sub(weights.log());
    const at::Tensor drawn = weights.div(anchors.positives);
    pairing.whole().gradients([&](const Tile& tile) {
      const at::Tensor same = classes_.same(tower, tile).to(drawn.dtype());
      at::Tensor gradient = tile.scores;
      classes_.selves(tower, tile, gradient).fill_(kLeftOut);
      gradient.sub_(normalizer.narrow(0, tile.row, tile.rows).unsqueeze(1)).exp_();
      return gradient.sub_(same.mul_(drawn.narrow(0, tile.row, tile.rows).unsqueeze(1)));
    });
  }

  Classes classes_;
};

}  // namespace

std::unique_ptr<TiledLoss> supCon(const Settings& settings) { return std::make_unique<SupCon>(settings); }

}  // namespace gradcache
