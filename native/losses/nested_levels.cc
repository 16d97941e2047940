#include "losses/nested_levels.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace gradcache {

namespace {

// Rectangles of tiles, one for each length: 1.4 GB of five.
constexpr int64_t kTileRows = 16'896, kTileColumns = 8448;

// Beyond this, numbers of rows whose beginnings are not short would become too small for float16 next to
// those of rows whose beginnings are.
constexpr double kMostFactor = 256;

// Rows whose gradient is finished at once.
constexpr int64_t kSlice = 8192;

}  // namespace

NestedLevels::NestedLevels(Similarity& longest, std::vector<int64_t> lengths, std::vector<double> weights,
                           const std::vector<std::vector<at::Tensor>>& inverses)
    : longest_(longest), lengths_(std::move(lengths)), weights_(std::move(weights)) {
  for (size_t last = lengths_.size(); last > 0;) {
    const size_t first = last >= 2 ? last - 2 : last - 1;
    if (first + 1 < last) joined_ |= uint32_t{1} << first;
    groups_.insert(groups_.begin(), {first, last - 1});
    last = first;
  }
  scaleSlope_ = at::zeros({}, longest_.numbers().dtype(at::kDouble));
  gradients_.resize(longest_.towers());
  at::Tensor greatest = at::ones({}, longest_.numbers());
  for (int64_t tower = 0; tower < longest_.towers(); ++tower) {
    std::vector<at::Tensor> ofLengths;
    for (const auto& of : inverses) ofLengths.push_back(of[tower].div(inverses.back()[tower]));
    factors_.push_back(at::stack(ofLengths));
    greatest = at::maximum(greatest, factors_.back().max());
  }
  greatestFactor_ = std::pow(greatest.item<double>(), 2);
}

bool NestedLevels::takes(const Rectangles& rectangles, bool both) const {
  return greatestFactor_ <= kMostFactor &&
         kernels::takesNested(longest_.numbers().device(), lengths_, rectangles.bound(), both);
}

kernels::NestedScores NestedLevels::nested(const kernels::Scores& scores, const Rectangles::Place& place,
                                           const Strip& strip) const {
  const Pairing& pairing = strip.pairing_;
  return {scores, lengths_, factors_[pairing.rowTower_].narrow(1, place.rows.begin, place.rows.count),
          factors_[pairing.columnTowers_[place.k]].narrow(1, place.columns.begin, place.columns.count)};
}

std::vector<JointSums> NestedLevels::sums(const Rectangles& rectangles, bool ofColumns) const {
  const Strip& strip = rectangles.strip();
  const at::TensorOptions numbers = longest_.numbers();
  const at::Tensor rows = at::zeros({count(), strip.rows()}, numbers);
  const at::Tensor columns = ofColumns ? at::zeros({count(), strip.columns()}, numbers) : at::Tensor();
  rectangles.sweep([&](const kernels::Scores& scores, const Rectangles::Place& place) {
    kernels::addNestedSums(nested(scores, place, strip), rows.narrow(1, place.row, place.rows.count),
                           ofColumns ? columns.narrow(1, place.column, place.columns.count) : at::Tensor());
  });
  const auto logOf = [&](const at::Tensor& sums) {
    return kernels::logOfNestedSums(sums, rectangles.bound());
  };
  std::vector<JointSums> result;
  for (int64_t k = 0; k < count(); ++k)
    result.push_back({logOf(rows[k]), ofColumns ? logOf(columns[k]) : at::Tensor()});
  return result;
}

NestedLevels::TowerGradient& NestedLevels::gradientOf(int64_t tower) {
  TowerGradient& gradient = gradients_[tower];
  if (gradient.groups.empty()) {
    const int64_t rows = longest_.rows(tower);
    for (const Group& group : groups_)
      gradient.groups.push_back(at::zeros({rows, lengths_[group.last]}, longest_.numbers()));
    gradient.turns = at::zeros({count(), rows}, longest_.numbers());
  }
  return gradient;
}

void NestedLevels::addGradient(const Rectangles& rectangles, const std::vector<JointGradient>& gradients) {
  const Strip& strip = rectangles.strip();
  const Measure& measure = longest_.measure();
  const int64_t rowTower = strip.pairing_.rowTower_;
  std::vector<at::Tensor> ofRows, ofColumns;
  at::Tensor greatest = at::zeros({}, longest_.numbers().dtype(at::kDouble));
  for (size_t k = 0; k < gradients.size(); ++k) {
    ofRows.push_back(gradients[k].rows);
    if (gradients[k].columns.defined()) ofColumns.push_back(gradients[k].columns);
    greatest = at::maximum(greatest, gradients[k].greatest.mul(weights_[k]));
  }
  const int shift = rectangles.shiftFor(greatest.item<double>() * greatestFactor_);
  const double times = std::ldexp(measure.scale, -shift);
  kernels::NestedGradients of;
  of.joined = joined_;
  for (const double weight : weights_) of.weights.push_back(std::ldexp(weight, shift));
  const at::Tensor rowNormalizers = at::stack(ofRows);
  const at::Tensor columnNormalizers = ofColumns.empty() ? at::Tensor() : at::stack(ofColumns);

  at::Tensor memory;
  rectangles.each(
      kTileRows, kTileColumns, true, [&](const kernels::Scores& scores, const Rectangles::Place& place) {
        const int64_t r = place.rows.count, c = place.columns.count;
        const int64_t columnTower = strip.pairing_.columnTowers_[place.k];
        const bool trainsRows = longest_.trains(rowTower), trainsColumns = longest_.trains(columnTower);
        const std::vector<int64_t> shape{count(), kernels::nestedTileRows(r), kernels::paddedWidth(c)};
        if (!memory.defined() || memory.sizes() != at::IntArrayRef(shape))
          memory = at::empty(shape, longest_.numbers().dtype(rectangles.type()));
        of.rowNormalizers = rowNormalizers.narrow(1, place.row, r);
        if (columnNormalizers.defined()) of.columnNormalizers = columnNormalizers.narrow(1, place.column, c);
        const at::Tensor rowTurns = at::zeros({count(), r}, longest_.numbers());
        const at::Tensor columnTurns = at::zeros({count(), c}, longest_.numbers());
        kernels::nestedTiles(nested(scores, place, strip), of, memory, rowTurns, columnTurns);
        const auto addTurns = [&](int64_t tower, const Rectangles::Span& rows, const at::Tensor& turns) {
          gradientOf(tower).turns.narrow(1, rows.begin, rows.count).add_(turns, times);
        };
        if (trainsRows) addTurns(rowTower, place.rows, rowTurns);
        if (trainsColumns) addTurns(columnTower, place.columns, columnTurns);
        for (size_t g = 0; g < groups_.size(); ++g) {
          for (size_t k = groups_[g].first; k <= groups_[g].last; ++k) {
            const int64_t begin = k == groups_[g].first ? 0 : lengths_[k - 1], width = lengths_[k] - begin;
            const at::Tensor tile = memory[static_cast<int64_t>(k)].narrow(0, 0, r).narrow(1, 0, c);
            const at::Tensor left = scores.rows.narrow(1, begin, width),
                             right = scores.columns.narrow(1, begin, width);
            const auto gradient = [&](int64_t tower, const Rectangles::Span& rows) {
              return gradientOf(tower).groups[g].narrow(0, rows.begin, rows.count).narrow(1, begin, width);
            };
            if (measure.learned) {
              const at::Tensor sums = kernels::halfProduct(tile, right);
              scaleSlope_.add_(left.mul(sums).sum(at::kDouble), times);
              if (trainsRows) gradient(rowTower, place.rows).add_(sums, times);
            } else if (trainsRows) {
              kernels::addHalfProduct(gradient(rowTower, place.rows), tile, right, times);
            }
            if (trainsColumns)
              kernels::addHalfProduct(gradient(columnTower, place.columns), tile.t(), left, times);
          }
        }
      });
}

at::Tensor NestedLevels::takeGradient(int64_t tower) {
  TowerGradient taken = std::exchange(gradients_[tower], {});
  if (taken.groups.empty()) return {};
  const int64_t rows = longest_.rows(tower);
  // Of the lengths that are joined with none, the last group's is of all numbers: the sum goes there.
  const at::Tensor all = taken.groups.back();
  for (int64_t begin = 0; begin < rows; begin += kSlice) {
    const int64_t count = std::min(kSlice, rows - begin);
    const DenseRows place = longest_.towers_[tower]->dense(begin, count);
    const at::Tensor units = place.tower.compared(place.begin, count);
    const at::Tensor sum = all.narrow(0, begin, count);
    // By what a length turns rows, times the square of its factor: goes off its numbers.
    std::vector<std::pair<int64_t, at::Tensor>> off;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const auto [first, last] = groups_[g];
      const at::Tensor own = taken.groups[g].narrow(0, begin, count);
      at::Tensor turn = own.mul(units.narrow(1, 0, lengths_[last])).sum({1});  // of both lengths
      const auto take = [&](size_t k, const at::Tensor& of) {
        const at::Tensor factor = factors_[tower][static_cast<int64_t>(k)].narrow(0, begin, count);
        off.emplace_back(lengths_[k], of.mul(factor).mul_(factor).unsqueeze(1));
      };
      if (first < last) {
        const at::Tensor ofFirst = taken.turns[static_cast<int64_t>(first)].narrow(0, begin, count);
        take(first, ofFirst);
        turn = turn.sub(ofFirst);
      }
      take(last, turn);
    }
    for (size_t g = 0; g + 1 < groups_.size(); ++g)
      sum.narrow(1, 0, lengths_[groups_[g].last]).add_(taken.groups[g].narrow(0, begin, count));
    for (const auto& [length, turn] : off)
      sum.narrow(1, 0, length).sub_(units.narrow(1, 0, length).mul(turn));
    place.tower.backToRows(place.begin, sum);
  }
  return all;
}

}  // namespace gradcache
