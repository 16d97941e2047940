#include "losses/tiled_loss.h"

namespace gradcache {

LossResult compute(TiledLoss& loss, Similarity& similarity, double weight, bool learned) {
  LossSums sums(similarity.numbers());
  loss.begin(similarity, sums);
  similarity.eachTile([&](const Tile& tile) {
    at::Tensor kept = learned ? tile.scores.clone() : at::Tensor();
    const at::Tensor gradient = loss.gradient(tile, sums);
    if (learned) sums.addSlope("scale", kept.mul_(gradient).sum(at::kDouble));
    similarity.addGradient(tile, gradient, weight);
  });
  LossResult result{sums.loss(), similarity.takeGradients(), {}};
  if (!learned) return result;
  for (const auto& [setting, slope] : sums.slopes()) result.slopes[setting] = slope.item<double>() * weight;
  return result;
}

}  // namespace gradcache
