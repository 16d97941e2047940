#include "losses/identities.h"

#include "core/error.h"

namespace gradcache {

namespace {

// The pairs of a pairing that share an identity.
struct Shared {
  at::Tensor rows, columns;  // [rows or columns, identities]; -1 and -2 for none
  at::Tensor examples;       // [columns]: the row that each column is about, or -1

  // bool [rows, columns] of a tile: pairs of different rows that share one.
  at::Tensor of(const Tile& tile) const {
    const at::Tensor first = rows.narrow(0, tile.row, tile.rows);
    const at::Tensor second = columns.narrow(0, tile.column, tile.columns);
    at::Tensor shared = at::zeros({tile.rows, tile.columns}, first.options().dtype(at::kBool));
    for (int64_t k = 0; k < first.size(1); ++k)
      for (int64_t l = 0; l < second.size(1); ++l)
        shared.logical_or_(first.select(1, k).unsqueeze(1).eq(second.select(1, l)));
    const at::Tensor numbers = at::arange(tile.row, tile.row + tile.rows, first.options()).unsqueeze(1);
    return shared.logical_and_(examples.narrow(0, tile.column, tile.columns).ne(numbers));
  }
};

}  // namespace

Identities::Identities(const Settings& settings) {
  if (!settings.has("ids")) return;
  given_ = settings.integers("ids");
  perRow_ = settings.size("idsPerRow");
  require(static_cast<int64_t>(given_.size()) % perRow_ == 0, "SHAPE", given_.size(), " ids for rows of ",
          perRow_);
}

Logits::Change Identities::leaveOut(const Similarity& similarity, int64_t rows,
                                    const std::vector<int64_t>& columns, const Chosen& positives) const {
  if (!any()) return {};
  const int64_t count = static_cast<int64_t>(given_.size()) / perRow_;
  require(similarity.rows(rows) == count, "SHAPE", "there are ids for ", count, " rows, and ",
          similarity.rows(rows), " rows");
  const auto device = similarity.numbers().device();
  Shared shared;
  shared.rows = at::tensor(at::ArrayRef<int64_t>(given_), at::kLong).view({count, perRow_}).to(device);
  const at::Tensor ofColumns = shared.rows.masked_fill(shared.rows.lt(0), -2);
  std::vector<at::Tensor> ids, examples;
  for (int64_t tower : columns) {
    const int64_t here = similarity.rows(tower);
    const bool known = here == count;
    ids.push_back(known ? ofColumns : at::full({here, perRow_}, -2, ofColumns.options()));
    examples.push_back(known ? at::arange(count, ofColumns.options())
                             : at::full({here}, -1, ofColumns.options()));
  }
  shared.columns = at::cat(ids);
  shared.examples = at::cat(examples);
  return [shared, positives](const Tile& tile, at::Tensor& scores) {
    at::Tensor added = shared.of(tile).to(scores.dtype()).mul_(kLeftOut);
    if (positives.any()) positives.add(tile, added, positives.of(tile, added).neg_());
    scores.add_(added);
  };
}

}  // namespace gradcache
