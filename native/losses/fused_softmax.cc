#include "losses/fused_softmax.h"

#include <cmath>
#include <numbers>

#include "core/error.h"
#include "losses/all_pairs.h"
#include "losses/statistics.h"

namespace gradcache {

// What the second sweep needs of the first. Scores have no bias here.
struct FusedSums {
  at::Tensor rows, columns;  // log sum exp of what the sweeps see; float64
  at::Tensor singles;        // scores [rows, lists]; undefined: no lists
};

FusedSoftmax::FusedSoftmax(Strip& strip, const Logits& logits, const Chosen& positives)
    : strip_(strip),
      similarity_(strip.similarity()),
      columnCount_(strip.columns()),
      logits_(logits),
      singles_(strip),
      leftOut_(strip) {
  require(!logits.all, "INPUT", "precision 'fast' takes no ids, and no judge of negatives: use 'exact'");
  singles_.add(positives);
  positives_ = singles_.count();
  singles_.add(logits.hardness.pairs);
  leftOut_.add(logits.leftOut);
}

double FusedSoftmax::rowScale() const {
  const double scale = similarity_.measure().scale;
  return logits_.hardness.ofOthers ? scale * (1 + logits_.hardness.factor) : scale;
}

Rectangles FusedSoftmax::rectangles(double scale) const {
  std::vector<at::Tensor> lists = singles_.lists();
  std::optional<int64_t> diagonal = singles_.diagonal();
  // A kernel leaves out one diagonal by itself.
  for (const at::Tensor& list : leftOut_.lists()) lists.push_back(list);
  if (!diagonal) {
    diagonal = leftOut_.diagonal();
  } else if (leftOut_.diagonal()) {
    lists.push_back(leftOut_.diagonalList());
  }
  return Rectangles(strip_, scale, diagonal, lists);
}

at::Tensor FusedSoftmax::logitsOf(const at::Tensor& scores, bool ofRows) const {
  at::Tensor logits = scores.clone();
  if (logits_.shift != 0) logits.narrow(1, 0, positives_).add_(logits_.shift);
  if (ofRows && !logits_.hardness.ofOthers)
    logits.narrow(1, positives_, singles_.count() - positives_).mul_(1 + logits_.hardness.factor);
  return logits.masked_fill_(singles_.columns().lt(0), -INFINITY);
}

JointSums FusedSoftmax::logSums(double scale, bool ofColumns) const {
  const Rectangles sweep = rectangles(scale);
  if (JointSweeps* const joint = similarity_.joint(sweep))
    return joint->sums(similarity_.level_, sweep, ofColumns);
  const at::Device device = similarity_.numbers().device();
  const at::Tensor rows = kernels::noScoreSums(strip_.rows(), device);
  std::vector<at::Tensor> columns;  // each begins where the kernels need it
  if (ofColumns)
    for (const int64_t count : strip_.columnTowerRows())
      columns.push_back(kernels::noScoreSums(count, device));
  sweep.sweep([&](const kernels::Scores& scores, const Rectangles::Place& place) {
    at::Tensor some;
    if (ofColumns) some = columns[place.k].narrow(0, place.columns.begin, place.columns.count);
    kernels::addScoreSums(scores, rows.narrow(0, place.row, place.rows.count), some);
  });
  return {kernels::logOfScoreSums(rows),
          ofColumns ? kernels::logOfScoreSums(at::cat(columns)) : at::Tensor()};
}

SoftmaxStatistics FusedSoftmax::statistics(const Wanted& wanted) {
  const double scale = similarity_.measure().scale;
  const bool apart = rowScale() != scale;  // the softmax over columns sees other logits
  auto found = std::make_shared<FusedSums>();
  if (wanted.rows || !apart) {
    const JointSums sums = logSums(rowScale(), wanted.columns && !apart);
    found->rows = sums.rows;
    found->columns = sums.columns;
  } else {
    found->rows = at::full({strip_.rows()}, -INFINITY, similarity_.statistics());
  }
  if (wanted.columns && apart) found->columns = logSums(scale, true).columns;
  SoftmaxStatistics result;
  if (wanted.rows) result.rows = found->rows;
  if (wanted.columns) result.columns = found->columns;
  if (singles_.count() > 0) {
    found->singles = singles_.scores();
    const at::Tensor ofRows = logitsOf(found->singles, true), ofColumns = logitsOf(found->singles, false);
    if (positives_ > 0) {
      const at::Tensor positives = ofColumns.narrow(1, 0, positives_);
      result.positives = positives.add(bias()).masked_fill_(positives.isinf(), 0);
    }
    if (wanted.rows) result.rows = at::logsumexp(at::cat({result.rows.unsqueeze(1), ofRows}, 1), {1});
    if (wanted.columns)
      result.columns = at::logaddexp(result.columns,
                                     logSumExpAt(ofColumns, singles_.columns().clamp_min(0), columnCount_));
  }
  if (wanted.rows) result.rows = result.rows.add(bias());
  if (wanted.columns) result.columns = result.columns.add(bias());
  strip_.fused_ = std::move(found);
  if (wanted.sums) result = withSums(std::move(result), wanted);
  if (const Share* share = strip_.share()) {
    if (wanted.rows) completeLogSumExp(result.rows, share);
    if (wanted.columns) completeLogSumExp(result.columns, share);
    for (const at::Tensor* sums : {&result.rowSums, &result.columnSums, &result.positives})
      if (sums->defined()) share->sum(*sums);
  }
  return result;
}

SoftmaxStatistics FusedSoftmax::withSums(SoftmaxStatistics result, const Wanted& wanted) const {
  const AllPairs all(strip_);
  const at::Tensor& singles = strip_.fused_->singles;
  // What the logits of singles have beyond those that all pairs are taken to have.
  const auto beyond = [&](bool ofRows, double times) {
    const at::Tensor logits = logitsOf(singles, ofRows);
    return logits.sub(singles, times).masked_fill_(logits.isinf(), 0);
  };
  if (wanted.rows) {
    const double times = rowScale() / similarity_.measure().scale;
    result.rowSums = all.rowSums(bias() / times).mul_(times);
    if (singles_.count() > 0) result.rowSums.add_(beyond(true, times).sum({1}));
    if (leftOut_.count() > 0) {
      const at::Tensor counts = leftOut_.columns().ge(0).sum({1});
      result.rowSums.sub_(leftOut_.scores().sum({1}).mul_(times)).sub_(counts.mul(bias()));
    }
  }
  if (wanted.columns) {
    result.columnSums = all.columnSums(bias());
    if (singles_.count() > 0)
      result.columnSums.index_put_({singles_.columns().clamp_min(0).reshape({-1})},
                                   beyond(false, 1).reshape({-1}), true);
  }
  return result;
}

void FusedSoftmax::addGradient(const SoftmaxGradient& gradient) {
  require(strip_.fused_ != nullptr, "INPUT", "the gradient of a softmax needs its statistics");
  const FusedSums& found = *strip_.fused_;
  at::Tensor ofRows, ofColumns;  // normalizers without the bias
  if (gradient.rows.defined()) ofRows = gradient.rows.sub(bias());
  if (gradient.columns.defined()) ofColumns = gradient.columns.sub(bias());
  // First, so that several lengths, which meet there (levels.h), have no gradients of their own meanwhile.
  const at::Tensor none = at::full_like(found.rows, INFINITY);
  const auto greatest = [](const at::Tensor& sums, const at::Tensor& normalizers) {
    return sums.sub(normalizers).exp_().max();
  };
  const double scale = similarity_.measure().scale;
  if (ofColumns.defined() && ofRows.defined() && rowScale() == scale) {
    sweepGradient(scale, ofRows, ofColumns,
                  greatest(found.rows, ofRows).add(greatest(found.columns, ofColumns)));
  } else {
    if (ofRows.defined()) sweepGradient(rowScale(), ofRows, {}, greatest(found.rows, ofRows));
    if (ofColumns.defined()) sweepGradient(scale, none, ofColumns, greatest(found.columns, ofColumns));
  }
  if (singles_.count() > 0) {
    at::Tensor slopes = at::zeros_like(found.singles);  // dL/dscore
    if (ofRows.defined()) slopes.add_(logitsOf(found.singles, true).sub_(ofRows.unsqueeze(1)).exp_());
    if (ofColumns.defined()) {
      const at::Tensor columns = singles_.columns().clamp_min(0);
      const at::Tensor normalizers = ofColumns.index_select(0, columns.reshape({-1})).view_as(columns);
      slopes.add_(logitsOf(found.singles, false).sub_(normalizers).exp_());
    }
    const at::Tensor ofPositives = slopes.narrow(1, 0, positives_);
    if (positives_ > 0) ofPositives.sub_(gradient.positives);
    slopes.masked_fill_(singles_.columns().lt(0), 0);
    if (positives_ > 0 && gradient.watch) gradient.watch(ofPositives);
    singles_.addGradient(slopes, found.singles);
  }
  addConstants(gradient);
  strip_.fused_ = nullptr;
}

void FusedSoftmax::sweepGradient(double scale, const at::Tensor& ofRows, const at::Tensor& ofColumns,
                                 const at::Tensor& greatest) {
  Rectangles sweep = rectangles(scale);
  JointSweeps* const joint = similarity_.joint(sweep);
  if (joint != nullptr && joint->addGradient(similarity_.level_, sweep, {ofRows, ofColumns, greatest}))
    return;
  const int shift = sweep.shiftFor(greatest.item<double>());
  const double less = shift * std::numbers::ln2;
  const at::Tensor rows = ofRows.sub(less);
  const at::Tensor columns = ofColumns.defined() ? ofColumns.sub(less) : ofColumns;
  sweep.gradients(std::ldexp(1.0, -shift), [&](const kernels::Scores& scores, const Rectangles::Place& place,
                                               const kernels::ScoreTile& tile) {
    at::Tensor theirs;
    if (columns.defined()) theirs = columns.narrow(0, place.column, place.columns.count);
    kernels::scoreProbabilities(scores, rows.narrow(0, place.row, place.rows.count), theirs, tile);
  });
}

void FusedSoftmax::addConstants(const SoftmaxGradient& gradient) {
  if (!gradient.rowConstants.defined() && !gradient.columnConstants.defined()) return;
  const auto negative = [](const at::Tensor& of) { return of.defined() ? of.neg() : of; };
  AllPairs(strip_).addGradient(negative(gradient.rowConstants), negative(gradient.columnConstants));
  if (leftOut_.count() == 0 || !gradient.rowConstants.defined()) return;
  const at::Tensor scores = leftOut_.scores();
  leftOut_.addGradient(gradient.rowConstants.unsqueeze(1).mul(leftOut_.columns().ge(0)), scores);
}

}  // namespace gradcache
