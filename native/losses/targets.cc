#include "losses/targets.h"

#include "core/error.h"

namespace gradcache {

Targets::Targets(const Settings& settings) {
  if (!settings.has("targets")) return;
  given_ = settings.integers("targets");
  require(!given_.empty(), "SHAPE", "targets must name a candidate for each anchor, the list is empty");
  if (settings.has("targetCounts")) counts_ = settings.integers("targetCounts");
}

Chosen Targets::among(const Similarity& similarity) const {
  require(similarity.towers() >= 2, "SHAPE",
          "the loss needs at least two towers, anchors and candidates; got ", similarity.towers());
  const int64_t anchors = similarity.rows(0);
  if (given_.empty()) {
    require(similarity.rows(1) == anchors, "SHAPE", anchors, " anchors but ", similarity.rows(1),
            " positives: give explicit targets, or as many positives as anchors");
    return Chosen::diagonal(anchors, 0, similarity.numbers());
  }
  int64_t candidates = 0;
  for (int64_t tower = 1; tower < similarity.towers(); ++tower) candidates += similarity.rows(tower);
  for (int64_t target : given_) {
    require(target >= 0 && target < candidates, "SHAPE", "target ", target, " is not one of the ", candidates,
            " candidates");
  }
  const size_t listed = counts_.empty() ? given_.size() : counts_.size();
  require(static_cast<int64_t>(listed) == anchors, "SHAPE", listed, " targets for ", anchors, " anchors");
  std::vector<std::vector<int64_t>> lists;
  auto next = given_.begin();
  for (size_t row = 0; row < listed; ++row) {
    const int64_t count = counts_.empty() ? 1 : counts_[row];
    require(count > 0 && count <= given_.end() - next, "SHAPE", "anchor ", row, " has ", count,
            " targets, and ", given_.end() - next, " are left; one or more are needed");
    lists.emplace_back(next, next + count);
    next += count;
  }
  require(next == given_.end(), "SHAPE", "there are ", given_.end() - next,
          " more targets than their counts say");
  return Chosen(lists, similarity.numbers());
}

}  // namespace gradcache
