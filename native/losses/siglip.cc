// The sigmoid loss of SigLIP (Zhai et al. 2023): it classifies each pair of anchor and candidate as matching
// or not.
#include <cmath>
#include <memory>

#include "losses/losses.h"
#include "losses/rectangles.h"
#include "losses/singles.h"
#include "losses/targets.h"

namespace gradcache {

namespace {

class SigLip final : public TiledLoss {
 public:
  explicit SigLip(const Settings& settings) : given_(settings) {}

  void compute(Similarity& similarity, LossSums& sums) override {
    similarity.allowKernels();
    const Chosen targets = given_.among(similarity);
    const double share = 1 / static_cast<double>(similarity.rows(0));  // of a row in the loss
    Pairing pairing = similarity.pairFrom(0, 1);
    Strip strip = pairing.whole();
    if (similarity.products() != Products::kTiles) return byKernels(strip, targets, share, sums);
    strip.gradients([&](const Tile& tile) {
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
  // Matching pairs are few and are computed one by one, all others in one sweep.
  static void byKernels(Strip& strip, const Chosen& targets, double share, LossSums& sums) {
    const Measure& measure = strip.similarity().measure();
    Singles matching(strip);
    matching.add(targets);
    const at::Tensor scores = matching.scores(), absent = matching.columns().lt(0);
    const at::Tensor wrong = scores.add(measure.bias).neg_().masked_fill_(absent, -INFINITY);
    sums.addLoss(at::softplus(wrong, 1, kLinear).sum().mul(share));
    const at::Tensor slopes = wrong.sigmoid().mul_(-share);
    matching.addGradient(slopes, scores);
    if (measure.learned) strip.addBiasSlope(slopes.sum());

    Rectangles sweep(strip, measure.scale, matching.diagonal(), matching.lists());
    // The largest score has the largest sigmoid.
    const double most = strip.similarity().bound();
    const int shift = sweep.shiftFor(1 / (1 + std::exp(-most)));
    sweep.gradients(std::ldexp(share, -shift), [&](const kernels::Scores& tile, const Rectangles::Place&,
                                                   const kernels::ScoreTile& target) {
      const kernels::SigmoidSums found =
          kernels::scoreSigmoids(tile, measure.bias, std::ldexp(1.0, shift), target);
      sums.addLoss(found.losses.sum().mul(share));
      if (measure.learned) strip.addBiasSlope(found.sigmoids.sum().mul(share));
    });
  }

  // From here on log(1 + exp(x)) is x in float64.
  static constexpr double kLinear = 40;

  const Targets given_;
};

}  // namespace

std::unique_ptr<TiledLoss> sigLip(const Settings& settings) { return std::make_unique<SigLip>(settings); }

}  // namespace gradcache
