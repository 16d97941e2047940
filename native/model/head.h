// What follows the blocks: pooling, dense layers, normalisation.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/settings.h"
#include "kernels/pool/pool.h"
#include "model/block.h"

namespace gradcache {

class Head {
 public:
  // Takes rows of `width`; reads the settings pooling, dense and normalize.
  Head(int64_t width, const Settings& settings, ParameterList& list);

  // One row for each sequence, in the type of the weights, with a graph if `graph`.
  at::Tensor forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const;
  int64_t dimension() const { return dense_.empty() ? width_ : dense_.back().width; }
  int64_t tapeBytes(const ChunkSize& chunk) const;

 private:
  struct Dense {
    int64_t width;
    ParameterId weight;
    std::optional<ParameterId> bias;
    at::Tensor (*activation)(const at::Tensor&);
  };
  at::Tensor pool(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const;

  int64_t width_;
  kernels::Pooling pooling_;
  bool normalize_;
  std::vector<Dense> dense_;
};

}  // namespace gradcache
