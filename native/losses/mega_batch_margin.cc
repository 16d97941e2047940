// The margin loss of large batches (Wieting & Gimpel 2018): an anchor's positive is to be nearer than one
// margin, and the nearest positive of another anchor farther than a second one.
#include <memory>

#include "core/error.h"
#include "losses/chosen.h"
#include "losses/losses.h"
#include "losses/statistics.h"

namespace gradcache {

namespace {

class MegaBatchMargin final : public TiledLoss {
 public:
  explicit MegaBatchMargin(const Settings& settings)
      : positiveMargin_(settings.number("positiveMargin")),
        negativeMargin_(settings.number("negativeMargin")) {}

  void compute(Similarity& similarity, LossSums& sums) override {
    require(similarity.towers() == 2, "SHAPE", "the loss needs two towers, anchors and positives; got ",
            similarity.towers());
    const int64_t anchors = similarity.rows(0);
    require(similarity.rows(1) == anchors, "SHAPE", "there are ", anchors, " anchors and ",
            similarity.rows(1), " positives; as many are needed");
    const Chosen own = Chosen::diagonal(anchors, 0, similarity.numbers());
    at::Tensor places = at::full({anchors, 1}, -1, own.columns().options());
    const double share = 1 / static_cast<double>(anchors);
    similarity.pair(0, {1}).eachStrip([&](Strip& strip) {
      at::Tensor positives = at::zeros({strip.rows()}, similarity.numbers());
      Greatest nearest(strip.rows(), similarity.numbers());
      strip.sweep([&](const Tile& tile) {
        const int64_t row = tile.row - strip.begin();
        positives.narrow(0, row, tile.rows).add_(own.of(tile, tile.scores).squeeze(1));
        at::Tensor others = tile.scores.clone();
        own.add(tile, others, kLeftOut);
        nearest.add(others, 1, row, tile.column);
      });
      const at::Tensor tooFar = positives.neg().add_(positiveMargin_).clamp_min_(0);
      const at::Tensor tooNear = nearest.value().sub(negativeMargin_).clamp_min_(0);
      sums.addLoss(tooFar.add(tooNear).sum(at::kDouble).mul(share));
      places.narrow(0, strip.begin(), strip.rows()).copy_(nearest.place().unsqueeze(1));
      const Chosen hardest(places);
      const at::Tensor pulls = tooFar.gt(0).to(positives.dtype()).mul_(-share).unsqueeze(1);
      const at::Tensor pushes = tooNear.gt(0).to(positives.dtype()).mul_(share).unsqueeze(1);
      strip.gradients([&](const Tile& tile) {
        const int64_t row = tile.row - strip.begin();
        at::Tensor gradient = tile.scores.zero_();
        own.add(tile, gradient, pulls.narrow(0, row, tile.rows));
        hardest.add(tile, gradient, pushes.narrow(0, row, tile.rows));
        return gradient;
      });
    });
  }

 private:
  const double positiveMargin_, negativeMargin_;
};

}  // namespace

std::unique_ptr<TiledLoss> megaBatchMargin(const Settings& settings) {
  return std::make_unique<MegaBatchMargin>(settings);
}

}  // namespace gradcache
