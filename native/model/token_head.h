// A row for each token that counts, for late interaction.
#pragma once

#include "core/settings.h"
#include "model/head.h"
#include "model/head_modules.h"

namespace gradcache {

class TokenHead final : public Head {
 public:
  // Takes rows of `width`; reads the setting modules.
  TokenHead(int64_t width, const Settings& settings, Builder& builder);

  Encoded forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const override;
  int64_t dimension() const override { return modules_.width(); }
  bool oneRow() const override { return false; }
  bool perToken() const override { return true; }
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  int64_t width_;
  HeadModules modules_;
};

}  // namespace gradcache
