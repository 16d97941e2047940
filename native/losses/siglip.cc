// The sigmoid loss of SigLIP (Zhai et al. 2023): it classifies each pair of anchor and candidate as matching
// or not.
#include <memory>

#include "losses/losses.h"
#include "losses/targets.h"

namespace gradcache {

namespace {

class SigLip final : public TiledLoss {
 public:
  explicit SigLip(const Settings& settings) : given_(settings) {}

  void compute(Similarity& similarity, LossSums& sums) override {
    const Chosen targets = given_.among(similarity);
    const double share = 1 / static_cast<double>(similarity.rows(0));  // of a row in the loss
    similarity.pairFrom(0, 1).whole().gradients([&](const Tile& tile) {
      // Logits of the wrong class: those of matching pairs change their sign.
      at::Tensor wrong = tile.scores;
      targets.add(tile, wrong, targets.of(tile, wrong).mul_(-2));
      sums.addLoss(at::softplus(wrong, 1, kLinear).sum(at::kDouble).mul(share));
      at::Tensor gradient = wrong.sigmoid_().mul_(share);
      targets.add(tile, gradient, targets.of(tile, gradient).mul_(-2));
      return gradient;
    });
  }

 private:
  // From here on log(1 + exp(x)) is x in float64.
  static constexpr double kLinear = 40;

  const Targets given_;
};

}  // namespace

std::unique_ptr<TiledLoss> sigLip(const Settings& settings) { return std::make_unique<SigLip>(settings); }

}  // namespace gradcache
