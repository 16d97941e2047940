// One row for each sequence: pooling, dense layers, normalisation.
#pragma once

#include <optional>
#include <vector>

#include "core/settings.h"
#include "kernels/pool/pool.h"
#include "model/builder.h"
#include "model/head.h"

namespace gradcache {

class PooledHead final : public Head {
 public:
  // Takes rows of `width`; reads the settings pooling, dense and normalize. A dense layer has the parameters
  // NAME.weight and NAME.bias, where `name` is a setting of its own (default: dense.0, dense.1, …), and may
  // have `dropout` in front of it.
  PooledHead(int64_t width, const Settings& settings, Builder& builder);

  Encoded forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const override;
  int64_t dimension() const override { return dense_.empty() ? width_ : dense_.back().width; }
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  struct Dense {
    int64_t in, width;
    Dropout dropout;
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
