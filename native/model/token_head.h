// A row for each token that counts, for late interaction: dense layers, normalisation.
#pragma once

#include "core/settings.h"
#include "model/dense_layers.h"
#include "model/head.h"

namespace gradcache {

class TokenHead final : public Head {
 public:
  // Takes rows of `width`; reads the settings dense and normalize.
  TokenHead(int64_t width, const Settings& settings, Builder& builder);

  Encoded forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const override;
  int64_t dimension() const override { return dense_.width(); }
  bool oneRow() const override { return false; }
  bool perToken() const override { return true; }
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  int64_t width_;
  bool normalize_;
  DenseLayers dense_;
};

}  // namespace gradcache
