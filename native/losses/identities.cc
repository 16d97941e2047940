#include "losses/identities.h"

#include "core/error.h"

namespace gradcache {

Identities::Identities(const Settings& settings) {
  if (!settings.has("ids")) return;
  given_ = settings.integers("ids");
  perRow_ = settings.size("idsPerRow");
  require(static_cast<int64_t>(given_.size()) % perRow_ == 0, "SHAPE", given_.size(), " ids for rows of ",
          perRow_);
}

Identities::Shared Identities::among(const Similarity& similarity, int64_t rows,
                                     const std::vector<int64_t>& columns) const {
  const int64_t count = static_cast<int64_t>(given_.size()) / perRow_;
  require(similarity.rows(rows) == count, "SHAPE", "there are ids for ", count, " rows, and ",
          similarity.rows(rows), " rows");
  const auto device = similarity.numbers().device();
  Shared shared;
  shared.rows_ = at::tensor(at::ArrayRef<int64_t>(given_), at::kLong).view({count, perRow_}).to(device);
  const at::Tensor ofColumns = shared.rows_.masked_fill(shared.rows_.lt(0), -2);
  std::vector<at::Tensor> ids, examples;
  for (int64_t tower : columns) {
    const int64_t here = similarity.rows(tower);
    const bool known = here == count;
    ids.push_back(known ? ofColumns : at::full({here, perRow_}, -2, ofColumns.options()));
    examples.push_back(known ? at::arange(count, ofColumns.options())
                             : at::full({here}, -1, ofColumns.options()));
  }
  shared.columns_ = at::cat(ids);
  shared.examples_ = at::cat(examples);
  return shared;
}

at::Tensor Identities::Shared::of(const Tile& tile) const {
  const at::Tensor rows = rows_.narrow(0, tile.row, tile.rows);
  const at::Tensor columns = columns_.narrow(0, tile.column, tile.columns);
  at::Tensor shared = at::zeros({tile.rows, tile.columns}, rows.options().dtype(at::kBool));
  for (int64_t first = 0; first < rows.size(1); ++first)
    for (int64_t second = 0; second < columns.size(1); ++second)
      shared.logical_or_(rows.select(1, first).unsqueeze(1).eq(columns.select(1, second)));
  const at::Tensor numbers = at::arange(tile.row, tile.row + tile.rows, rows.options()).unsqueeze(1);
  return shared.logical_and_(examples_.narrow(0, tile.column, tile.columns).ne(numbers));
}

}  // namespace gradcache
