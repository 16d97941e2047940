#include "losses/tiled_loss.h"

#include "core/error.h"

namespace gradcache {

void TiledLoss::guideBy(Similarity&) { require(false, "INPUT", "the loss takes no guide"); }

LossResult compute(TiledLoss& loss, Similarity& similarity, double weight) {
  LossSums sums(similarity.numbers());
  loss.compute(similarity, sums);
  weight /= sums.divisor();
  LossResult result{sums.loss(), similarity.takeGradients(weight), {}};
  if (!similarity.measure().learned) return result;
  sums.addSlope("scale", similarity.scaleSlope());
  sums.addSlope("bias", similarity.biasSlope());
  for (const auto& [setting, slope] : sums.slopes()) result.slopes[setting] = slope.item<double>() * weight;
  return result;
}

}  // namespace gradcache
