// Which rows are of the same class, for losses in which the rows of all towers are compared with each other,
// and none with itself.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "core/settings.h"
#include "losses/similarity.h"

namespace gradcache {

class Classes {
 public:
  // Reads the setting `classes`: a whole number for each row, through all towers.
  explicit Classes(const Settings& settings) : given_(settings.integers("classes")) {}

  // The pairings of each tower with all towers. Throws SHAPE unless there is a class for each row.
  std::vector<Pairing> pairings(Similarity& similarity);
  int64_t rows() const { return static_cast<int64_t>(given_.size()); }

  // bool [rows, columns] of a tile of the k-th pairing: pairs of one class, without those of a row with
  // itself.
  at::Tensor same(int64_t tower, const Tile& tile) const;
  // Pairs of different classes.
  at::Tensor different(int64_t tower, const Tile& tile) const;
  // Pairs of a row with itself, of a tile's scores, as a view; nothing where there are none.
  at::Tensor selves(int64_t tower, const Tile& tile, const at::Tensor& numbers) const;

 private:
  std::vector<int64_t> given_, firsts_;
  at::Tensor classes_;  // [rows], on the device of the scores
};

}  // namespace gradcache
