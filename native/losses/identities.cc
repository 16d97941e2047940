#include "losses/identities.h"

#include "core/error.h"

namespace gradcache {

namespace {

// The identities of pairs, and the examples that their rows are about.
struct Shared {
  at::Tensor rows, columns;                // [rows or columns, identities]; -1 and -2 for none
  at::Tensor rowExamples, columnExamples;  // [rows], [columns]; -1 and -2 for none

  // bool [rows, columns] of a tile: pairs about different examples that share one.
  at::Tensor of(const Tile& tile) const {
    const at::Tensor first = rows.narrow(0, tile.row, tile.rows);
    const at::Tensor second = columns.narrow(0, tile.column, tile.columns);
    at::Tensor shared = at::zeros({tile.rows, tile.columns}, first.options().dtype(at::kBool));
    for (int64_t k = 0; k < first.size(1); ++k)
      for (int64_t l = 0; l < second.size(1); ++l)
        shared.logical_or_(first.select(1, k).unsqueeze(1).eq(second.select(1, l)));
    const at::Tensor examples = rowExamples.narrow(0, tile.row, tile.rows).unsqueeze(1);
    return shared.logical_and_(columnExamples.narrow(0, tile.column, tile.columns).ne(examples));
  }
};

}  // namespace

Identities::Identities(const Settings& settings) {
  if (!settings.has("ids")) return;
  given_ = settings.integers("ids");
  perExample_ = settings.size("idsPerRow");
  examples_ = settings.integers("idExamples");
  require(static_cast<int64_t>(given_.size()) % perExample_ == 0, "SHAPE", given_.size(),
          " ids for examples of ", perExample_);
}

Logits::Change Identities::leaveOut(const Similarity& similarity, int64_t rows,
                                    const std::vector<int64_t>& columns, const Chosen& positives) const {
  if (!any()) return {};
  std::vector<int64_t> firsts;  // of each tower's rows among those of all
  int64_t all = 0;
  for (int64_t tower = 0; tower < similarity.towers(); ++tower) {
    firsts.push_back(all);
    all += similarity.rows(tower);
  }
  const int64_t count = static_cast<int64_t>(given_.size()) / perExample_;
  require(static_cast<int64_t>(examples_.size()) == all, "SHAPE", "it is known of ", examples_.size(),
          " rows which examples they are about, and there are ", all);
  for (const int64_t example : examples_)
    require(example >= -1 && example < count, "SHAPE", "a row is about example ", example, " of ", count);

  const auto device = similarity.numbers().device();
  const at::Tensor examples = at::tensor(at::ArrayRef<int64_t>(examples_), at::kLong);
  const at::Tensor ids = at::tensor(at::ArrayRef<int64_t>(given_), at::kLong)
                             .view({count, perExample_})
                             .index_select(0, examples.clamp_min(0))
                             .masked_fill_(examples.lt(0).unsqueeze(1), -1)
                             .to(device);
  const at::Tensor known = examples.to(device);
  Shared shared;
  shared.rows = ids.narrow(0, firsts[rows], similarity.rows(rows));
  shared.rowExamples = known.narrow(0, firsts[rows], similarity.rows(rows));
  std::vector<at::Tensor> columnIds, columnExamples;
  for (const int64_t tower : columns) {
    columnIds.push_back(ids.narrow(0, firsts[tower], similarity.rows(tower)));
    columnExamples.push_back(known.narrow(0, firsts[tower], similarity.rows(tower)));
  }
  const auto none = [](at::Tensor of) { return of.masked_fill_(of.lt(0), -2); };
  shared.columns = none(at::cat(columnIds));
  shared.columnExamples = none(at::cat(columnExamples));
  return [shared, positives](const Tile& tile, at::Tensor& scores) {
    at::Tensor added = shared.of(tile).to(scores.dtype()).mul_(kLeftOut);
    if (positives.any()) positives.add(tile, added, positives.of(tile, added).neg_());
    scores.add_(added);
  };
}

}  // namespace gradcache
