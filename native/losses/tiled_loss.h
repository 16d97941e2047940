// A loss over all pairs of anchors and candidates, as what it does with a tile of their scores. Everything
// else (similarities, sweeps, gradients of representations and of the scale) is computed around it.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "losses/similarity.h"

namespace gradcache {

// Sums over tiles, on the scores' device in float64: nothing waits for them before the last tile.
class LossSums {
 public:
  explicit LossSums(const at::TensorOptions& numbers) : loss_(at::zeros({}, numbers.dtype(at::kDouble))) {}

  void addLoss(const at::Tensor& part) { loss_.add_(part); }
  // `part` of dL/d(the setting `name`), for a setting that is learned.
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

  // Before the tiles: looks whether the sizes fit, and takes what statistics of all scores the loss needs.
  // Throws SHAPE.
  virtual void begin(Similarity& similarity, LossSums& sums) = 0;

  // Adds the tile's share of the loss, and of the slopes of learned settings other than `scale`. Returns
  // dL/dscores [rows, candidates], which may be made in the scores' place.
  virtual at::Tensor gradient(const Tile& tile, LossSums& sums) = 0;
};

struct LossResult {
  double loss = 0;
  std::vector<at::Tensor> gradients;     // like the representations
  std::map<std::string, double> slopes;  // dL/d(learned setting); for `scale` dL/d(log scale)
};

// `weight` is what gradients and slopes are multiplied by; `learned` is whether slopes are wanted.
LossResult compute(TiledLoss& loss, Similarity& similarity, double weight, bool learned);

}  // namespace gradcache
