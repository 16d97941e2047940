// The sigmoid loss of SigLIP (Zhai et al. 2023): it classifies each pair of anchor and candidate as matching
// or not.
#include <memory>

#include "losses/losses.h"
#include "losses/targets.h"

namespace gradcache {

namespace {

class SigLip final : public TiledLoss {
 public:
  explicit SigLip(const Settings& settings)
      : bias_(settings.number("bias")), learned_(settings.truth("learned")), given_(settings) {}

  void begin(Similarity& similarity, LossSums&) override {
    targets_ = given_.among(similarity);
    share_ = 1 / static_cast<double>(similarity.anchors());
  }

  at::Tensor gradient(const Tile& tile, LossSums& sums) override {
    at::Tensor target = targets_.narrow(0, tile.begin, tile.scores.size(0)).unsqueeze(1);
    // Logits of the wrong class: those of matching pairs change their sign.
    at::Tensor wrong = tile.scores.add_(bias_);
    wrong.scatter_(1, target, wrong.gather(1, target).neg_());
    sums.addLoss(at::softplus(wrong, 1, kLinear).sum(at::kDouble).mul(share_));
    at::Tensor gradient = wrong.sigmoid_().mul_(share_);
    gradient.scatter_(1, target, gradient.gather(1, target).neg_());
    if (learned_) sums.addSlope("bias", gradient.sum(at::kDouble));
    return gradient;
  }

 private:
  // From here on log(1 + exp(x)) is x in float64.
  static constexpr double kLinear = 40;

  const double bias_;  // added to every score
  const bool learned_;
  const Targets given_;
  double share_ = 1;  // of a row in the loss
  at::Tensor targets_;
};

}  // namespace

std::unique_ptr<TiledLoss> sigLip(const Settings& settings) { return std::make_unique<SigLip>(settings); }

}  // namespace gradcache
