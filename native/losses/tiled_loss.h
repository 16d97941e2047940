// A loss over all pairs of anchors and candidates, defined by what it does with a tile of scores.
// Similarities, sweeps and gradients of representations and scale are computed around it.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "losses/similarity.h"

namespace gradcache {

// Sums over tiles in float64 on the scores' device, so that nothing waits for them before the last tile.
class LossSums {
 public:
  explicit LossSums(const at::TensorOptions& numbers) : loss_(at::zeros({}, numbers.dtype(at::kDouble))) {}

  void addLoss(const at::Tensor& part) { loss_.add_(part); }
  // Adds `part` to dL/d(the learned setting `name`).
  void addSlope(const std::string& name, const at::Tensor& part) {
    at::Tensor& slope = slopes_[name];
    slope = slope.defined() ? slope.add_(part) : part;
  }
  double loss() const { return loss_.item<double>(); }
  const std::map<std::string, at::Tensor>& slopes() const { return slopes_; }

 private:
  at::Tensor loss_;
  std::map<std::string, at::Tensor> slopes_;
};

class TiledLoss {
 public:
  virtual ~TiledLoss() = default;

  // Before the tiles: checks the sizes and computes the statistics of all scores that the loss needs. Throws
  // SHAPE.
  virtual void begin(Similarity& similarity, LossSums& sums) = 0;

  // Adds the tile's share of the loss, and of the slopes of learned settings other than `scale`. Returns
  // dL/dscores [rows, candidates], which may overwrite the scores.
  virtual at::Tensor gradient(const Tile& tile, LossSums& sums) = 0;
};

struct LossResult {
  double loss = 0;
  std::vector<at::Tensor> gradients;     // like the representations
  std::map<std::string, double> slopes;  // dL/d(learned setting); for `scale` dL/d(log scale)
};

// `weight` multiplies gradients and slopes; `learned` asks for slopes.
LossResult compute(TiledLoss& loss, Similarity& similarity, double weight, bool learned);

}  // namespace gradcache
