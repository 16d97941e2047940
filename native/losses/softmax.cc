#include "losses/softmax.h"

#include "losses/statistics.h"

namespace gradcache {

SoftmaxStatistics softmaxStatistics(Strip& strip, const Similarity& similarity, int64_t columns,
                                    const Logits& logits, const Chosen& positives, const Wanted& wanted) {
  const at::TensorOptions& numbers = similarity.numbers();
  LogSumExp ofRows(strip.rows(), numbers), ofColumns(wanted.columns ? columns : 0, numbers);
  SoftmaxStatistics result;
  if (wanted.sums && wanted.rows) result.rowSums = at::zeros({strip.rows()}, numbers);
  if (wanted.sums && wanted.columns) result.columnSums = at::zeros({columns}, numbers);
  if (positives.any()) result.positives = at::zeros({strip.rows(), positives.columns().size(1)}, numbers);
  strip.sweep([&](const Tile& tile) {
    const int64_t row = tile.row - strip.begin();
    at::Tensor seen = tile.scores;
    const bool changesRows = wanted.rows && (logits.ofRows || logits.leftOut.any());
    if (logits.all || changesRows) seen = seen.clone();
    if (logits.all) logits.all(tile, seen);
    if (positives.any()) result.positives.narrow(0, row, tile.rows).add_(positives.of(tile, seen));
    if (wanted.columns) {
      ofColumns.add(seen, 0, tile.column);
      if (wanted.sums) result.columnSums.narrow(0, tile.column, tile.columns).add_(seen.sum({0}));
    }
    if (!wanted.rows) return;
    if (logits.ofRows) logits.ofRows(tile, seen);
    if (wanted.sums) {
      at::Tensor sums = result.rowSums.narrow(0, row, tile.rows).add_(seen.sum({1}));
      if (logits.leftOut.any()) sums.sub_(logits.leftOut.of(tile, seen).sum({1}));
    }
    if (logits.leftOut.any()) logits.leftOut.add(tile, seen, kLeftOut);
    ofRows.add(seen, 1, row);
  });
  if (wanted.rows) result.rows = ofRows.value();
  if (wanted.columns) result.columns = ofColumns.value();
  return result;
}

void addSoftmaxGradient(Strip& strip, const Logits& logits, const Chosen& positives,
                        const SoftmaxGradient& of) {
  strip.gradients([&](const Tile& tile) {
    const int64_t row = tile.row - strip.begin();
    at::Tensor seen = tile.scores;
    if (logits.all) logits.all(tile, seen);
    at::Tensor gradient;
    if (of.columns.defined()) gradient = seen.sub(of.columns.narrow(0, tile.column, tile.columns)).exp_();
    if (of.rows.defined()) {
      if (logits.ofRows) logits.ofRows(tile, seen);
      if (logits.leftOut.any()) logits.leftOut.add(tile, seen, kLeftOut);
      seen.sub_(of.rows.narrow(0, row, tile.rows).unsqueeze(1)).exp_();
      if (of.rowConstants.defined()) {
        const at::Tensor constants = of.rowConstants.narrow(0, row, tile.rows).unsqueeze(1);
        seen.sub_(constants);
        if (logits.leftOut.any())
          logits.leftOut.add(tile, seen, constants.expand({-1, logits.leftOut.columns().size(1)}));
      }
      gradient = gradient.defined() ? seen.add_(gradient) : seen;
    }
    if (of.columnConstants.defined()) gradient.sub_(of.columnConstants.narrow(0, tile.column, tile.columns));
    if (positives.any()) positives.add(tile, gradient, of.positives.narrow(0, row, tile.rows).neg());
    if (of.watch) of.watch(tile, gradient);
    return gradient;
  });
}

}  // namespace gradcache
