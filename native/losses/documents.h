// Which candidates are an anchor's own documents: its positives and its hard negatives.
#pragma once

#include <vector>

#include "core/settings.h"
#include "losses/chosen.h"
#include "losses/similarity.h"

namespace gradcache {

// Tower 0 are the anchors, tower 1 the positives, all others hard negatives.
class Documents {
 public:
  // Reads the setting `owners`: for each row of the hard negatives, one tower after the other, the anchor
  // that it belongs to, or -1. Without it row i of each of these towers belongs to anchor i.
  explicit Documents(const Settings& settings);

  // Throws SHAPE unless owners, if there are any, are as many as the hard negatives.
  void check(const Similarity& similarity) const;

  // [anchors, k]. Throws SHAPE where a tower of hard negatives has another number of rows and there are no
  // owners.
  Chosen hardNegatives(const Similarity& similarity, const Chosen& positives) const;
  // The positives and the hard negatives.
  Chosen all(const Similarity& similarity, const Chosen& positives) const;

 private:
  std::vector<std::vector<int64_t>> ownedBy(const Similarity& similarity) const;
  Chosen merged(const Similarity& similarity, const Chosen& positives, bool withPositives) const;

  bool given_ = false;
  std::vector<int64_t> owners_;
};

}  // namespace gradcache
