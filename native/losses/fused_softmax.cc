#include "losses/fused_softmax.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/error.h"
#include "losses/statistics.h"

namespace gradcache {

// What the second sweep needs of the first. Scores have no bias here.
struct FusedSums {
  at::Tensor rows, columns;  // log sum exp without positives and pairs that are left out; float64
  at::Tensor positives;      // float64 [rows]; minus infinity where a row has none
};

namespace {

// Most rows and columns of a rectangle of scores. Those of a GPU keep all multiprocessors of an H200 at work,
// and need about a third of a gigabyte for the sums and 0.6 for the probabilities.
struct Sizes {
  int64_t sums;           // of both sides
  int64_t rows, columns;  // of probabilities
  int64_t positives;      // rows whose positives are taken at once
};

Sizes sizesOf(const at::TensorOptions& numbers) {
  if (numbers.device().is_cpu()) return {512, 256, 512, 512};
  return {65'536, 8448, 33'792, 8192};
}

// Powers of two by which probabilities are multiplied, so that the greatest, `greatest` at most, is about
// 2^13. float16 has no small ones; bfloat16 needs no help.
int shiftOf(double greatest, at::ScalarType type) {
  if (type != at::kHalf || !(greatest > 0) || !std::isfinite(greatest)) return 0;
  return static_cast<int>(std::floor(13 - std::log2(greatest)));
}

}  // namespace

FusedSoftmax::FusedSoftmax(Strip& strip, const Logits& logits, const Chosen& positives)
    : strip_(strip),
      pairing_(strip.pairing_),
      similarity_(strip.pairing_.similarity_),
      positives_(positives),
      type_(similarity_.measure().cosine ? at::kHalf : at::kBFloat16) {
  const auto refuse = [](bool refused, const char* what) {
    require(!refused, "INPUT", "precision 'fast' takes ", what, ": use 'exact'");
  };
  refuse(logits.all || logits.ofRows, "no margin, hardness or judge that changes scores");
  for (const Chosen* chosen : {&positives_, &logits.leftOut}) {
    if (!chosen->any()) continue;
    refuse(chosen->columns().size(1) != 1,
           "one positive of each row, and leaves out one pair of it at most besides");
    if (chosen->diagonal() && !diagonal_) {
      diagonal_ = chosen->diagonal();
    } else {
      refuse(places_.defined(), "targets or owners, not both");
      places_ = chosen->columns().select(1, 0).to(at::kInt);
    }
  }
}

std::vector<FusedSoftmax::Span> FusedSoftmax::spans(int64_t count, int64_t most, int64_t first) {
  std::vector<Span> all;
  for (int64_t begin = 0; begin < count; begin += most)
    all.push_back({first + begin, std::min(most, count - begin)});
  return all;
}

std::vector<FusedSoftmax::Span> FusedSoftmax::rowSpans(int64_t most) const {
  return spans(strip_.visited_, most, strip_.visitedBegin_);
}

// Those of numbers of the strip's rows that belong to a span.
at::Tensor FusedSoftmax::at(const at::Tensor& numbers, const Span& rows) const {
  return numbers.narrow(0, rows.begin - strip_.begin(), rows.count);
}

DenseTower& FusedSoftmax::tower(int64_t number) const {
  auto* dense = dynamic_cast<DenseTower*>(similarity_.towers_[number].get());
  require(dense != nullptr, "INPUT", "precision 'fast' takes dense representations: use 'exact'");
  return *dense;
}

at::Tensor FusedSoftmax::operand(const DenseTower& tower, const Span& span) const {
  const int64_t width = tower.width(), padded = kernels::paddedWidth(width);
  at::Tensor rows = at::empty({span.count, padded}, similarity_.numbers().dtype(type_));
  if (padded > width) rows.narrow(1, width, padded - width).zero_();
  tower.writeCompared(span.begin, rows.narrow(1, 0, width));
  return rows;
}

kernels::Scores FusedSoftmax::scoresOf(const at::Tensor& rows, const Span& ofRows, const at::Tensor& columns,
                                       int64_t firstColumn) const {
  kernels::Scores scores{rows, columns,    similarity_.measure().scale, similarity_.bound(), {},
                         {},   firstColumn};
  if (diagonal_) scores.leftOut = *diagonal_ + ofRows.begin - firstColumn;
  if (places_.defined()) scores.targets = places_.narrow(0, ofRows.begin, ofRows.count);
  return scores;
}

SoftmaxStatistics FusedSoftmax::statistics(const Wanted& wanted) {
  require(!wanted.sums, "INPUT", "precision 'fast' takes no label smoothing: use 'exact'");
  const Sizes sizes = sizesOf(similarity_.numbers());
  const at::Device device = similarity_.numbers().device();
  const size_t towers = pairing_.columnTowers_.size();
  at::Tensor rows = kernels::noScoreSums(strip_.rows(), device);
  std::vector<at::Tensor> columns(towers);  // each begins where the kernels need it
  if (wanted.columns)
    for (size_t k = 0; k < towers; ++k) columns[k] = kernels::noScoreSums(columnTower(k).rows(), device);
  for (const Span& ofRows : rowSpans(sizes.sums)) {
    const at::Tensor left = operand(rowTower(), ofRows);
    const at::Tensor sums = at(rows, ofRows);
    for (size_t k = 0; k < towers; ++k) {
      for (const Span& span : spans(columnTower(k).rows(), sizes.sums)) {
        const at::Tensor right = operand(columnTower(k), span);
        at::Tensor ofColumns;
        if (wanted.columns) ofColumns = columns[k].narrow(0, span.begin, span.count);
        kernels::addScoreSums(scoresOf(left, ofRows, right, pairing_.firsts_[k] + span.begin), sums,
                              ofColumns);
      }
    }
  }

  auto found = std::make_shared<FusedSums>();
  const at::TensorOptions numbers = similarity_.statistics();
  const double scale = similarity_.measure().scale, bias = similarity_.measure().bias;
  // What the gradient of this process needs is of its own rows.
  found->rows = kernels::logOfScoreSums(rows);
  if (wanted.columns) found->columns = kernels::logOfScoreSums(at::cat(columns));
  SoftmaxStatistics result;
  if (positives_.any()) {
    at::Tensor positives = at::full({strip_.rows()}, -INFINITY, numbers);
    eachPositive([&](const at::Tensor& of, size_t k, const at::Tensor& places) {
      const at::Tensor both = rowTower().comparedAt(of).mul_(columnTower(k).comparedAt(places));
      positives.index_copy_(0, of.sub(strip_.begin()), both.sum({1}, false, at::kDouble).mul_(scale));
    });
    found->positives = positives;
    result.positives = positives.add(bias).masked_fill_(positives.isinf(), 0).unsqueeze(1);
  }
  if (wanted.rows) {
    result.rows = positives_.any() ? at::logaddexp(found->rows, found->positives) : found->rows.clone();
    result.rows.add_(bias);
  }
  if (wanted.columns) {
    result.columns = found->columns.clone();
    if (positives_.any())
      result.columns = at::logaddexp(
          result.columns, logSumExpAt(found->positives, targets().clamp_min(0), pairing_.columns()));
    result.columns.add_(bias);
  }
  if (const Share* share = strip_.share()) {
    if (wanted.rows) completeLogSumExp(result.rows, share);
    if (wanted.columns) completeLogSumExp(result.columns, share);
    if (result.positives.defined()) share->sum(result.positives);
  }
  strip_.fused_ = std::move(found);
  return result;
}

void FusedSoftmax::addGradient(const SoftmaxGradient& gradient) {
  require(strip_.fused_ != nullptr, "INPUT", "the gradient of a softmax needs its statistics");
  const FusedSums& found = *strip_.fused_;
  const Measure& measure = similarity_.measure();
  const Sizes sizes = sizesOf(similarity_.numbers());
  at::Tensor ofRows = at::full_like(found.rows, INFINITY), ofColumns;  // normalizers without the bias
  if (gradient.rows.defined()) ofRows = gradient.rows.sub(measure.bias);
  at::Tensor greatest = found.rows.sub(ofRows).exp_().max();
  if (gradient.columns.defined()) {
    ofColumns = gradient.columns.sub(measure.bias);
    greatest = greatest.add(found.columns.sub(ofColumns).exp_().max());
  }
  addPositives(gradient, ofRows, ofColumns);

  const int shift = shiftOf(greatest.item<double>(), type_);
  const double factor = std::ldexp(measure.scale, -shift);
  ofRows = ofRows.sub(shift * std::numbers::ln2);
  if (ofColumns.defined()) ofColumns = ofColumns.sub(shift * std::numbers::ln2);
  int64_t widest = 0;
  for (size_t k = 0; k < pairing_.columnTowers_.size(); ++k) widest = std::max(widest, columnTower(k).rows());
  const at::Tensor memory = at::empty(
      {std::min(sizes.rows, strip_.visited_), kernels::paddedWidth(std::min(sizes.columns, widest))},
      similarity_.numbers().dtype(type_));
  const int64_t width = rowTower().width();
  const bool trainsRows = similarity_.trains(pairing_.rowTower_);
  for (size_t k = 0; k < pairing_.columnTowers_.size(); ++k) {
    for (const Span& columns : spans(columnTower(k).rows(), sizes.columns)) {
      const at::Tensor right = operand(columnTower(k), columns);
      const int64_t first = pairing_.firsts_[k] + columns.begin;
      at::Tensor theirs;
      if (ofColumns.defined()) theirs = ofColumns.narrow(0, first, columns.count);
      for (const Span& rows : rowSpans(sizes.rows)) {
        const at::Tensor left = operand(rowTower(), rows);
        const at::Tensor p = memory.narrow(0, 0, rows.count).narrow(1, 0, columns.count);
        kernels::scoreProbabilities(scoresOf(left, rows, right, first), at(ofRows, rows), theirs, p);
        if (trainsRows || measure.learned) {
          const at::Tensor part = kernels::halfProduct(p, right.narrow(1, 0, width));
          if (trainsRows) rowTower().add(rows.begin, part, factor);
          if (measure.learned)
            similarity_.scaleSlope_.add_(
                rowTower().compared(rows.begin, rows.count).mul(part).sum(at::kDouble).mul_(factor));
        }
        if (similarity_.trains(pairing_.columnTowers_[k]))
          kernels::addHalfProduct(columnTower(k).gradient(columns.begin, columns.count), p.t(),
                                  left.narrow(1, 0, width), factor);
      }
    }
  }
  strip_.fused_ = nullptr;
}

void FusedSoftmax::addPositives(const SoftmaxGradient& gradient, const at::Tensor& ofRows,
                                const at::Tensor& ofColumns) {
  if (!positives_.any()) return;
  const at::Tensor& positives = strip_.fused_->positives;
  at::Tensor slopes = positives.sub(ofRows).exp_();  // dL/dscore
  if (ofColumns.defined())
    slopes.add_(positives.sub(ofColumns.index_select(0, targets().clamp_min(0))).exp_());
  slopes.sub_(gradient.positives.select(1, 0));
  eachPositive([&](const at::Tensor& of, size_t k, const at::Tensor& places) {
    const at::Tensor slope = slopes.index_select(0, of.sub(strip_.begin())).mul_(similarity_.measure().scale);
    const at::Tensor factor = slope.to(at::kFloat).unsqueeze(1);
    const at::Tensor left = rowTower().comparedAt(of), right = columnTower(k).comparedAt(places);
    if (similarity_.trains(pairing_.rowTower_)) rowTower().addAt(of, right.mul(factor));
    if (similarity_.trains(pairing_.columnTowers_[k])) columnTower(k).addAt(places, left.mul(factor));
  });
  // A bias moves no softmax: its slope is 0.
  if (similarity_.measure().learned)
    similarity_.scaleSlope_.add_(slopes.mul(positives).masked_fill_(positives.isinf(), 0).sum());
}

void FusedSoftmax::eachPositive(
    const std::function<void(const at::Tensor&, size_t, const at::Tensor&)>& visit) {
  const at::Tensor columns = targets();
  for (const Span& rows : rowSpans(sizesOf(similarity_.numbers()).positives)) {
    for (size_t k = 0; k < pairing_.columnTowers_.size(); ++k) {
      const int64_t first = pairing_.firsts_[k], end = first + columnTower(k).rows();
      if (const auto& diagonal = positives_.diagonal()) {
        const int64_t begin = std::max(rows.begin, first - *diagonal);
        const int64_t count = std::min(rows.begin + rows.count, end - *diagonal) - begin;
        if (count <= 0) continue;
        const at::Tensor of = at::arange(begin, begin + count, columns.options());
        visit(of, k, of.add(*diagonal - first));
        continue;
      }
      const at::Tensor part = columns.narrow(0, rows.begin, rows.count);
      const at::Tensor inside = part.ge(first).logical_and_(part.lt(end)).nonzero().squeeze(1);
      if (inside.numel() > 0) visit(inside.add(rows.begin), k, part.index_select(0, inside).sub_(first));
    }
  }
}

}  // namespace gradcache
