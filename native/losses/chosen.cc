#include "losses/chosen.h"

#include <algorithm>

namespace gradcache {

Chosen::Chosen(const std::vector<std::vector<int64_t>>& lists, const at::TensorOptions& numbers) {
  size_t most = 1;
  for (const auto& list : lists) most = std::max(most, list.size());
  const auto width = static_cast<int64_t>(most);
  at::Tensor columns = at::full({static_cast<int64_t>(lists.size()), width}, -1, at::kLong);
  auto* to = columns.mutable_data_ptr<int64_t>();
  for (size_t row = 0; row < lists.size(); ++row)
    std::copy(lists[row].begin(), lists[row].end(), to + row * most);
  columns_ = columns.to(numbers.device());
}

Chosen Chosen::diagonal(int64_t rows, int64_t first, const at::TensorOptions& numbers) {
  Chosen chosen(at::arange(first, first + rows, numbers.dtype(at::kLong)).unsqueeze(1));
  chosen.diagonal_ = first;
  return chosen;
}

at::Tensor Chosen::of(const Tile& tile, const at::Tensor& numbers) const {
  const Places places = placesIn(tile);
  return numbers.gather(1, places.at).masked_fill_(places.inside.logical_not(), 0);
}

void Chosen::add(const Tile& tile, const at::Tensor& numbers, const at::Tensor& values) const {
  const Places places = placesIn(tile);
  numbers.scatter_add_(1, places.at, values.masked_fill(places.inside.logical_not(), 0));
}

void Chosen::add(const Tile& tile, const at::Tensor& numbers, double value) const {
  const Places places = placesIn(tile);
  numbers.scatter_add_(1, places.at, places.inside.to(numbers.scalar_type()).mul_(value));
}

Chosen::Places Chosen::placesIn(const Tile& tile) const {
  at::Tensor at = columns_.narrow(0, tile.row, tile.rows).sub(tile.column);
  at::Tensor inside = at.ge(0).logical_and_(at.lt(tile.columns));
  return {at.clamp_(0, tile.columns - 1), inside};
}

}  // namespace gradcache
