// Rows that are about the same example: what belongs to one is no negative of the other.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "core/settings.h"
#include "losses/similarity.h"

namespace gradcache {

// Row i of every tower that has as many rows as there are identities is about example i.
class Identities {
 public:
  // Reads the settings `ids`, one row's after the other's, whole numbers from 0 and -1 for none, and
  // `idsPerRow`. Without them no rows are about the same.
  explicit Identities(const Settings& settings);

  bool any() const { return perRow_ > 0; }

  // The pairs of a pairing whose rows are different and share an identity.
  class Shared {
   public:
    // bool [rows, columns] of a tile.
    at::Tensor of(const Tile& tile) const;

   private:
    friend class Identities;
    at::Tensor rows_, columns_;  // [rows or columns, identities]; -1 and -2 for none
    at::Tensor examples_;        // [columns]: the row that each column is about, or -1
  };
  // Throws SHAPE unless the tower `rows` has as many rows.
  Shared among(const Similarity& similarity, int64_t rows, const std::vector<int64_t>& columns) const;

 private:
  int64_t perRow_ = 0;
  std::vector<int64_t> given_;
};

}  // namespace gradcache
