// One row for each sequence: pooling, dense layers, normalisation.
#pragma once

#include "core/settings.h"
#include "kernels/pool/pool.h"
#include "model/builder.h"
#include "model/dense_layers.h"
#include "model/head.h"

namespace gradcache {

class PooledHead final : public Head {
 public:
  // Takes rows of `width`; reads the settings pooling, dense and normalize.
  PooledHead(int64_t width, const Settings& settings, Builder& builder);

  Encoded forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const override;
  int64_t dimension() const override { return dense_.width(); }
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  at::Tensor pool(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const;

  int64_t width_;
  kernels::Pooling pooling_;
  bool normalize_;
  DenseLayers dense_;
};

}  // namespace gradcache
