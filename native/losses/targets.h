// Which candidates belong to each anchor, for losses whose tower 0 are the anchors and all others the
// candidates.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "core/settings.h"
#include "losses/chosen.h"
#include "losses/similarity.h"

namespace gradcache {

class Targets {
 public:
  // Reads the settings `targets`, the numbers of each anchor's candidates, one anchor after the other, and
  // `targetCounts`, how many each has. Without counts each has one; without targets anchor i has candidate i.
  explicit Targets(const Settings& settings);

  bool given() const { return !given_.empty(); }
  // [anchors, k]. Throws SHAPE unless all are numbers of candidates.
  Chosen among(const Similarity& similarity) const;

 private:
  std::vector<int64_t> given_, counts_;
};

}  // namespace gradcache
