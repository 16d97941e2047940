// One row for each sequence: poolings side by side, and the modules behind them.
#pragma once

#include <optional>
#include <vector>

#include "core/settings.h"
#include "kernels/pool/pool.h"
#include "model/builder.h"
#include "model/head.h"
#include "model/head_modules.h"

namespace gradcache {

class PooledHead final : public Head {
 public:
  // Takes rows of `width`; reads the settings pooling, names with + between them, and modules, and perhaps
  // tokenModules, which tokens go through before they are pooled.
  PooledHead(int64_t width, const Settings& settings, Builder& builder);

  Encoded forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const override;
  int64_t dimension() const override { return modules_.width(); }
  bool skips() const override { return true; }
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  at::Tensor pool(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, kernels::Pooling pooling,
                  bool graph) const;
  at::Tensor throughTokenModules(const at::Tensor& x, const Pass& pass, bool graph) const;
  // Whether a pooling alone scales its rows to length one on their way out.
  bool normalizes() const { return poolings_.size() == 1 && modules_.beginWithNormalize(); }

  std::optional<HeadModules> tokenModules_;
  int64_t width_;  // of what is pooled
  std::vector<kernels::Pooling> poolings_;
  HeadModules modules_;
};

}  // namespace gradcache
