// Rows that are about the same example: what belongs to one is no negative of the other.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "core/settings.h"
#include "losses/chosen.h"
#include "losses/similarity.h"
#include "losses/softmax.h"

namespace gradcache {

class Identities {
 public:
  // Reads the settings `ids`, those of one example after the other, whole numbers from 0 and -1 for none, as
  // many for each as `idsPerRow`; and `idExamples`, for each row of all towers the example that it is about,
  // or -1. Without them no rows are about the same.
  explicit Identities(const Settings& settings);

  bool any() const { return perExample_ > 0; }

  // Leaves out the pairs of rows about different examples that share an identity, but no positive. Empty if
  // there are no identities. Throws SHAPE unless there is an example for each row.
  Logits::Change leaveOut(const Similarity& similarity, int64_t rows, const std::vector<int64_t>& columns,
                          const Chosen& positives) const;

 private:
  int64_t perExample_ = 0;
  std::vector<int64_t> given_, examples_;
};

}  // namespace gradcache
