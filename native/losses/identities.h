// Rows that are about the same example: what belongs to one is no negative of the other.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "core/settings.h"
#include "losses/chosen.h"
#include "losses/similarity.h"
#include "losses/softmax.h"

namespace gradcache {

// Row i of every tower that has as many rows as there are identities is about example i.
class Identities {
 public:
  // Reads the settings `ids`, one row's after the other's, whole numbers from 0 and -1 for none, and
  // `idsPerRow`. Without them no rows are about the same.
  explicit Identities(const Settings& settings);

  bool any() const { return perRow_ > 0; }

  // Leaves out the pairs of different rows that share an identity, but no positive. Empty if there are no
  // identities. Throws SHAPE unless the tower `rows` has as many rows.
  Logits::Change leaveOut(const Similarity& similarity, int64_t rows, const std::vector<int64_t>& columns,
                          const Chosen& positives) const;

 private:
  int64_t perRow_ = 0;
  std::vector<int64_t> given_;
};

}  // namespace gradcache
