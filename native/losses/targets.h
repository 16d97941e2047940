// Which candidate belongs to each anchor.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "core/settings.h"
#include "losses/similarity.h"

namespace gradcache {

class Targets {
 public:
  // From the setting `targets`, numbers of candidates; without it anchor i belongs to candidate i.
  explicit Targets(const Settings& settings);

  // [anchors], int64, on the device of the scores. Throws SHAPE where the numbers are not those of
  // candidates.
  at::Tensor among(const Similarity& similarity) const;

 private:
  std::vector<int64_t> given_;
};

}  // namespace gradcache
