// A loss of scores between towers: it goes over them with sweeps (similarity.h). Gradients of the
// representations, and of scale and bias, are computed around it.
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
  // A part that follows from statistics of all rows of a strip. Where it is shared, all processes have it
  // alike, and one counts it.
  void addLoss(const Strip& strip, const at::Tensor& part) {
    if (strip.share() == nullptr || strip.share()->first()) addLoss(part);
  }
  // Adds `part` to dL/d(the learned setting `name`).
  void addSlope(const std::string& name, const at::Tensor& part) {
    at::Tensor& slope = slopes_[name];
    slope = slope.defined() ? slope.add(part) : part;
  }
  // For a loss whose number of terms is known at its end: the loss and all gradients are divided by it.
  void divideBy(double divisor) { divisor_ = divisor; }
  double divisor() const { return divisor_; }
  double loss() const { return loss_.item<double>() / divisor_; }
  const std::map<std::string, at::Tensor>& slopes() const { return slopes_; }

 private:
  at::Tensor loss_;
  double divisor_ = 1;
  std::map<std::string, at::Tensor> slopes_;
};

class TiledLoss {
 public:
  virtual ~TiledLoss() = default;

  // Adds its value to `sums`, and its gradient to the towers by the sweeps. Slopes of scale and bias come
  // from the sweeps; those of other learned settings it adds to `sums`. Throws SHAPE for sizes that do not
  // fit.
  virtual void compute(Similarity& similarity, LossSums& sums) = 0;

  // Before compute(): another similarity of the same rows, which decides which pairs count and has no
  // gradient. Throws INPUT for a loss that takes none.
  virtual void guideBy(Similarity& guide);
};

struct LossResult {
  double loss = 0;
  std::vector<at::Tensor> gradients;     // like the representations
  std::map<std::string, double> slopes;  // dL/d(learned setting); for `scale` dL/d(log scale)
};

// `weight` multiplies gradients and slopes.
LossResult compute(TiledLoss& loss, Similarity& similarity, double weight);

}  // namespace gradcache
