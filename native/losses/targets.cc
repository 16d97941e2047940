#include "losses/targets.h"

#include "core/error.h"

namespace gradcache {

Targets::Targets(const Settings& settings) {
  if (!settings.has("targets")) return;
  given_ = settings.integers("targets");
  require(!given_.empty(), "SHAPE", "targets must name a candidate for each anchor, the list is empty");
}

at::Tensor Targets::among(const Similarity& similarity) const {
  const auto numbers = similarity.numbers();
  const int64_t anchors = similarity.anchors(), candidates = similarity.candidates();
  if (given_.empty()) {
    require(similarity.positives() == anchors, "SHAPE", anchors, " anchors but ", similarity.positives(),
            " positives: give explicit targets, or as many positives as anchors");
    return at::arange(anchors, numbers.dtype(at::kLong));
  }
  require(static_cast<int64_t>(given_.size()) == anchors, "SHAPE", given_.size(), " targets for ", anchors,
          " anchors");
  for (int64_t target : given_) {
    require(target >= 0 && target < candidates, "SHAPE", "target ", target, " is not one of the ", candidates,
            " candidates");
  }
  return at::tensor(at::ArrayRef<int64_t>(given_), at::kLong).to(numbers.device());
}

}  // namespace gradcache
