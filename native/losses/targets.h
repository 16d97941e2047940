// Which candidate belongs to each anchor.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "core/settings.h"
#include "losses/similarity.h"

namespace gradcache {

class Targets {
 public:
  // Reads the setting `targets`, candidate numbers; without it anchor i belongs to candidate i.
  explicit Targets(const Settings& settings);

  // int64 [anchors], on the device of the scores. Throws SHAPE unless all are numbers of candidates.
  at::Tensor among(const Similarity& similarity) const;

 private:
  std::vector<int64_t> given_;
};

}  // namespace gradcache
