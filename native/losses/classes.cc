#include "losses/classes.h"

#include <algorithm>

#include "core/error.h"

namespace gradcache {

std::vector<Pairing> Classes::pairings(Similarity& similarity) {
  int64_t count = 0;
  firsts_.clear();
  std::vector<Pairing> all;
  for (int64_t tower = 0; tower < similarity.towers(); ++tower) {
    firsts_.push_back(count);
    count += similarity.rows(tower);
    all.push_back(similarity.pairFrom(tower, 0));
  }
  require(rows() == count, "SHAPE", rows(), " labels for ", count, " rows of all towers");
  classes_ = at::tensor(at::ArrayRef<int64_t>(given_), at::kLong).to(similarity.numbers().device());
  return all;
}

at::Tensor Classes::same(int64_t tower, const Tile& tile) const {
  const at::Tensor rows = classes_.narrow(0, firsts_[tower] + tile.row, tile.rows).unsqueeze(1);
  at::Tensor same = rows.eq(classes_.narrow(0, tile.column, tile.columns));
  selves(tower, tile, same).fill_(false);
  return same;
}

at::Tensor Classes::different(int64_t tower, const Tile& tile) const {
  const at::Tensor rows = classes_.narrow(0, firsts_[tower] + tile.row, tile.rows).unsqueeze(1);
  return rows.ne(classes_.narrow(0, tile.column, tile.columns));
}

at::Tensor Classes::selves(int64_t tower, const Tile& tile, const at::Tensor& numbers) const {
  const int64_t offset = firsts_[tower] + tile.row - tile.column;
  return numbers.diagonal(std::clamp(offset, -tile.rows, tile.columns));
}

}  // namespace gradcache
