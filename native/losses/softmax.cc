#include "losses/softmax.h"

#include <cmath>

#include "kernels/exponentials/exponentials.h"
#include "losses/fused_softmax.h"
#include "losses/statistics.h"

namespace gradcache {

namespace {

// Whether the exponentials of logits, and of their normalizers, can be computed as they are: none overflows,
// and none that counts becomes 0. Scores of a cosine at common temperatures are so. There rows and columns
// share one exponential of each logit, and a strip that keeps its scores keeps their exponentials.
bool isBounded(const Similarity& similarity, const Logits& logits) {
  const bool single = similarity.numbers().dtype() == at::kFloat;
  const double most = logits.areScores() ? 0 : logits.most;
  return similarity.bound() + most <= (single ? 40 : 300);
}

// Whether the softmax over rows sees other logits than the one over columns.
bool changesRows(const Logits& logits) { return logits.hardness.factor != 0 || logits.leftOut.any(); }

// Changes the scores of a tile to the logits that both softmaxes see.
void changeAll(const Tile& tile, at::Tensor& scores, const Logits& logits, const Chosen& positives) {
  if (logits.all) logits.all(tile, scores);
  if (logits.shift != 0) positives.add(tile, scores, logits.shift);
}

void harden(const Tile& tile, at::Tensor& seen, const Logits::Hardness& hardness, double bias) {
  if (hardness.factor == 0) return;
  const at::Tensor before = hardness.pairs.of(tile, seen);
  if (!hardness.ofOthers) return hardness.pairs.add(tile, seen, before.sub(bias).mul_(hardness.factor));
  seen.mul_(1 + hardness.factor);
  if (bias != 0) seen.sub_(hardness.factor * bias);
  hardness.pairs.add(tile, seen, before.sub(bias).mul_(-hardness.factor));
}

// Changes the logits of a tile to those that the softmax over rows sees.
void changeRows(const Tile& tile, at::Tensor& seen, const Logits& logits, double bias) {
  harden(tile, seen, logits.hardness, bias);
  if (logits.leftOut.any()) logits.leftOut.add(tile, seen, kLeftOut);
}

// A number for each row, or for each column, of all tiles together.
class Sums {
 public:
  Sums(bool wanted, int64_t count, const at::TensorOptions& numbers)
      : sums_(wanted ? at::zeros({count}, numbers) : at::Tensor()) {}
  bool wanted() const { return sums_.defined(); }
  void add(int64_t begin, const at::Tensor& numbers) {
    sums_.narrow(0, begin, numbers.size(0)).add_(numbers);
  }
  const at::Tensor& value() const { return sums_; }

 private:
  at::Tensor sums_;
};

}  // namespace

SoftmaxStatistics softmaxStatistics(Strip& strip, const Similarity& similarity, int64_t columns,
                                    const Logits& logits, const Chosen& positives, const Wanted& wanted) {
  if (similarity.products() != Products::kTiles)
    return FusedSoftmax(strip, logits, positives).statistics(wanted);
  const double bias = similarity.measure().bias;
  const at::TensorOptions& numbers = similarity.numbers();
  const bool bounded = isBounded(similarity, logits) && !(wanted.columns && changesRows(logits));
  const bool copies = !bounded && (logits.all || logits.shift != 0 || (wanted.rows && changesRows(logits)));
  LogSumExp ofRows(bounded ? 0 : strip.rows(), numbers), ofColumns(bounded ? 0 : columns, numbers);
  Sums rowTotals(bounded && wanted.rows, strip.rows(), numbers);  // of exponentials
  Sums columnTotals(bounded && wanted.columns, columns, numbers);
  Sums rowSums(wanted.sums && wanted.rows, strip.rows(), numbers);  // of logits
  Sums columnSums(wanted.sums && wanted.columns, columns, numbers);
  at::Tensor chosen;
  if (positives.any()) chosen = at::zeros({strip.rows(), positives.columns().size(1)}, numbers);

  const auto visit = [&](const Tile& tile) {
    const int64_t row = tile.row - strip.begin();
    at::Tensor seen = copies ? tile.scores.clone() : tile.scores;
    changeAll(tile, seen, logits, positives);
    if (positives.any()) chosen.narrow(0, row, tile.rows).add_(positives.of(tile, seen));
    if (columnSums.wanted()) columnSums.add(tile.column, seen.sum({0}));
    if (wanted.columns && !bounded) ofColumns.add(seen, 0, tile.column);
    if (wanted.rows) {
      harden(tile, seen, logits.hardness, bias);
      if (rowSums.wanted()) {
        rowSums.add(row, seen.sum({1}));
        if (logits.leftOut.any()) rowSums.add(row, logits.leftOut.of(tile, seen).sum({1}).neg_());
      }
      if (logits.leftOut.any()) logits.leftOut.add(tile, seen, kLeftOut);
      if (!bounded) ofRows.add(seen, 1, row);
    }
    if (!bounded) return;
    const at::Tensor totals = kernels::exponentials(seen);
    if (rowTotals.wanted()) rowTotals.add(row, totals);
    if (columnTotals.wanted()) columnTotals.add(tile.column, seen.sum({0}));
  };
  if (bounded) {
    strip.transform(visit);
  } else {
    strip.sweep(visit);
  }
  if (const Share* share = strip.share()) {
    if (wanted.rows) ofRows.complete(share);
    if (wanted.columns) ofColumns.complete(share);
    for (const Sums* sums : {&rowTotals, &columnTotals, &rowSums, &columnSums})
      if (sums->wanted()) share->sum(sums->value());
    if (chosen.defined()) share->sum(chosen);
  }
  SoftmaxStatistics result{{}, {}, rowSums.value(), columnSums.value(), chosen};
  if (wanted.rows) result.rows = bounded ? rowTotals.value().log() : ofRows.value();
  if (wanted.columns) result.columns = bounded ? columnTotals.value().log() : ofColumns.value();
  return result;
}

void addSoftmaxGradient(Strip& strip, const Logits& logits, const Chosen& positives,
                        const SoftmaxGradient& of) {
  if (!strip.hasGradients()) return;
  if (strip.similarity().products() != Products::kTiles)
    return FusedSoftmax(strip, logits, positives).addGradient(of);
  const double bias = strip.similarity().measure().bias;
  const bool overRows = of.rows.defined(), overColumns = of.columns.defined();
  const bool kept = strip.transformed();  // exponentials of softmaxStatistics
  const bool bounded =
      kept || (isBounded(strip.similarity(), logits) && !(overColumns && changesRows(logits)));
  at::Tensor ofRows, ofColumns;  // what exponentials are multiplied by
  if (bounded && overRows) ofRows = of.rows.neg().exp_();
  if (bounded && overColumns) ofColumns = of.columns.neg().exp_();

  // `seen` are exponentials, if kept, or logits.
  const auto fromExponentials = [&](const Tile& tile, at::Tensor& seen) {
    at::Tensor ofRow, ofColumn;
    if (overRows) ofRow = ofRows.narrow(0, tile.row - strip.begin(), tile.rows);
    if (overColumns) ofColumn = ofColumns.narrow(0, tile.column, tile.columns);
    if (!kept) return kernels::weighedExponentials(seen, ofRow, ofColumn);
    at::Tensor factors = ofColumn;
    if (overRows) factors = overColumns ? ofRow.unsqueeze(1).add(ofColumn) : ofRow.unsqueeze(1);
    seen.mul_(factors);
  };
  const auto fromLogits = [&](const Tile& tile, at::Tensor& seen) {
    at::Tensor second;
    if (overColumns) second = seen.sub(of.columns.narrow(0, tile.column, tile.columns)).exp_();
    if (!overRows) {
      seen = second;
      return;
    }
    changeRows(tile, seen, logits, bias);
    seen.sub_(of.rows.narrow(0, tile.row - strip.begin(), tile.rows).unsqueeze(1)).exp_();
    if (overColumns) seen.add_(second);
  };
  strip.gradients([&](const Tile& tile) {
    const int64_t row = tile.row - strip.begin();
    at::Tensor gradient = tile.scores;
    if (!kept) changeAll(tile, gradient, logits, positives);
    if (!bounded) {
      fromLogits(tile, gradient);
    } else {
      if (!kept && overRows) changeRows(tile, gradient, logits, bias);
      fromExponentials(tile, gradient);
    }
    if (of.rowConstants.defined()) {
      const at::Tensor constants = of.rowConstants.narrow(0, row, tile.rows).unsqueeze(1);
      gradient.sub_(constants);
      if (logits.leftOut.any())
        logits.leftOut.add(tile, gradient, constants.expand({-1, logits.leftOut.columns().size(1)}));
    }
    if (of.columnConstants.defined()) gradient.sub_(of.columnConstants.narrow(0, tile.column, tile.columns));
    if (positives.any()) positives.add(tile, gradient, of.positives.narrow(0, row, tile.rows).neg());
    if (of.watch) of.watch(positives.of(tile, gradient));
    return gradient;
  });
}

}  // namespace gradcache
