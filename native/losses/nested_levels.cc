#include "losses/nested_levels.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace gradcache {

namespace {

// Most rows of a rectangle of tiles, and most bytes of its tiles together.
struct Sizes {
  int64_t rows, bytes;
};

Sizes sizesOf(const at::Device& device) {
  return device.is_cpu() ? Sizes{256, int64_t{1} << 20} : Sizes{16'896, 1'430 << 20};
}

int64_t columnsOf(const Sizes& sizes, int64_t lengths) {
  return std::max<int64_t>(sizes.bytes / (2 * lengths * sizes.rows) / 256, 1) * 256;
}

// Beyond this, numbers of rows whose beginnings are not short would become too small for float16 next to
// those of rows whose beginnings are.
constexpr double kMostFactor = 256;

// Powers of two between the greatest numbers of two lengths whose tiles are one: float16 would have too few
// places for those of the less.
constexpr double kMostApart = 5;

// Rows whose gradient is finished at once.
constexpr int64_t kSlice = 8192;

}  // namespace

NestedLevels::NestedLevels(Similarity& longest, int64_t width, std::vector<int64_t> lengths,
                           std::vector<double> weights, const std::vector<std::vector<at::Tensor>>& inverses)
    : longest_(longest), width_(width), lengths_(std::move(lengths)), weights_(std::move(weights)) {
  scaleSlope_ = at::zeros({}, longest_.numbers().dtype(at::kDouble));
  gradients_.resize(longest_.towers());
  std::vector<at::Tensor> greatest;
  for (int64_t tower = 0; tower < longest_.towers(); ++tower) {
    std::vector<at::Tensor> ofLengths;
    for (const auto& of : inverses) ofLengths.push_back(of[tower].div(inverses.back()[tower]));
    factors_.push_back(at::stack(ofLengths));
    greatest.push_back(factors_.back().amax({1}));
  }
  const at::Tensor all = at::stack(greatest).amax({0}).square().to(at::kDouble);
  if (const Share* share = longest_.share()) share->most(all);
  const at::Tensor here = all.cpu();
  able_ = std::all_of(weights_.begin(), weights_.end(), [](double weight) { return weight >= 0; });
  for (int64_t k = 0; k < count(); ++k) {
    greatestFactors_.push_back(here[k].item<double>());
    able_ = able_ && greatestFactors_.back() <= kMostFactor;  // false for what is not a number
  }
}

void NestedLevels::group(const std::vector<double>& greatest) {
  const auto alike = [&](size_t k) {
    return greatest[k] == 0 || greatest[k + 1] == 0 ||
           std::abs(std::log2(greatest[k] / greatest[k + 1])) <= kMostApart;
  };
  for (size_t last = lengths_.size(); last > 0;) {
    const bool joins = last >= 2 && alike(last - 2);
    const size_t first = last - (joins ? 2 : 1);
    if (joins) joined_ |= uint32_t{1} << first;
    groups_.insert(groups_.begin(), {first, last - 1});
    last = first;
  }
}

bool NestedLevels::takes(const Rectangles& rectangles) const {
  return able_ && rectangles.bound() <= kernels::kMostNestedBound;
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
  const double reference = kernels::nestedReference(numbers.device(), rectangles.bound());
  const auto logOf = [&](const at::Tensor& sums) {
    return sums.to(at::kDouble).log2_().add_(reference).mul_(std::numbers::ln2);
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
    for (const Group& group : groups_) {
      const bool last = group.last + 1 == lengths_.size();
      gradient.groups.push_back(at::zeros({rows, last ? width_ : lengths_[group.last]}, longest_.numbers()));
    }
    gradient.turns = at::zeros({count(), rows}, longest_.numbers());
  }
  return gradient;
}

bool NestedLevels::addGradient(const Rectangles& rectangles, const std::vector<JointGradient>& gradients) {
  const Strip& strip = rectangles.strip();
  const Measure& measure = longest_.measure();
  const at::Device device = longest_.numbers().device();
  const int64_t rowTower = strip.pairing_.rowTower_;
  const bool both = gradients[0].columns.defined();
  std::vector<at::Tensor> ofRows, ofColumns, limits;
  for (const JointGradient& gradient : gradients) {
    ofRows.push_back(gradient.rows);
    if (both) ofColumns.push_back(gradient.columns);
    limits.push_back(gradient.greatest);
    // The least and the greatest normalizer, of those that are none infinity.
    for (const at::Tensor& of : {gradient.rows, gradient.columns}) {
      if (!both || !of.defined()) continue;
      limits.push_back(of.min());
      limits.push_back(of.masked_fill(of.isinf(), -INFINITY).max());
    }
  }
  const at::Tensor found = at::stack(limits).cpu();
  const double* next = found.const_data_ptr<double>();
  std::vector<double> greatest, least(gradients.size(), INFINITY), most(gradients.size(), -INFINITY);
  for (size_t k = 0; k < gradients.size(); ++k) {
    greatest.push_back(*next++ * weights_[k] * greatestFactors_[k]);
    for (int side = 0; both && side < 2; ++side) {
      least[k] = std::min(least[k], *next++);
      most[k] = std::max(most[k], *next++);
    }
  }
  if (groups_.empty()) group(greatest);
  // Each group has a power of two of its own, so that the greatest number in its tiles is about as float16
  // has.
  kernels::NestedGradients of;
  of.joined = joined_;
  of.weights = weights_;
  std::vector<double> shifts(gradients.size()), times;
  const double reference = kernels::nestedReference(device, rectangles.bound());
  for (const Group& group : groups_) {
    const int shift = rectangles.shiftFor(std::max(greatest[group.first], greatest[group.last]));
    times.push_back(std::ldexp(measure.scale, -shift));
    for (size_t k = group.first; k <= group.last; ++k) {
      shifts[k] = shift * std::numbers::ln2;
      const double low = least[k] / std::numbers::ln2 - shift - reference,
                   high = most[k] / std::numbers::ln2 - shift - reference;
      if (low < -kernels::kMostPower || high > kernels::kMostPower) return false;
    }
  }
  const at::Tensor off = at::tensor(at::ArrayRef<double>(shifts), at::kDouble).to(device).unsqueeze(1);
  const at::Tensor rowNormalizers = at::stack(ofRows).sub_(off);
  const at::Tensor columnNormalizers = both ? at::stack(ofColumns).sub_(off) : at::Tensor();

  const Sizes sizes = sizesOf(device);
  at::Tensor memory;
  rectangles.each(
      sizes.rows, columnsOf(sizes, count()), true,
      [&](const kernels::Scores& scores, const Rectangles::Place& place) {
        const int64_t r = place.rows.count, c = place.columns.count;
        const int64_t columnTower = strip.pairing_.columnTowers_[place.k];
        const bool trainsRows = longest_.trains(rowTower), trainsColumns = longest_.trains(columnTower);
        const int64_t tileRows = kernels::nestedTileRows(r), stride = kernels::paddedWidth(c),
                      needed = count() * tileRows * stride;
        if (!memory.defined() || memory.numel() < needed) {
          memory.reset();
          memory = at::empty({needed}, longest_.numbers().dtype(rectangles.type()));
        }
        const at::Tensor tiles = memory.narrow(0, 0, needed).view({count(), tileRows, stride});
        of.rowNormalizers = rowNormalizers.narrow(1, place.row, r);
        if (columnNormalizers.defined()) of.columnNormalizers = columnNormalizers.narrow(1, place.column, c);
        const at::Tensor rowTurns = at::zeros({count(), r}, longest_.numbers());
        const at::Tensor columnTurns = at::zeros({count(), c}, longest_.numbers());
        kernels::nestedTiles(nested(scores, place, strip), of, tiles, rowTurns, columnTurns);
        const auto addTurns = [&](int64_t tower, const Rectangles::Span& rows, const at::Tensor& turns) {
          const at::Tensor all = gradientOf(tower).turns.narrow(1, rows.begin, rows.count);
          for (size_t g = 0; g < groups_.size(); ++g) {
            const auto first = static_cast<int64_t>(groups_[g].first);
            if (groups_[g].first < groups_[g].last) all[first].add_(turns[first], times[g]);
          }
        };
        if (trainsRows) addTurns(rowTower, place.rows, rowTurns);
        if (trainsColumns) addTurns(columnTower, place.columns, columnTurns);
        for (size_t g = 0; g < groups_.size(); ++g) {
          for (size_t k = groups_[g].first; k <= groups_[g].last; ++k) {
            const int64_t begin = k == groups_[g].first ? 0 : lengths_[k - 1], width = lengths_[k] - begin;
            const at::Tensor tile = tiles[static_cast<int64_t>(k)].narrow(0, 0, r).narrow(1, 0, c);
            const at::Tensor left = scores.rows.narrow(1, begin, width),
                             right = scores.columns.narrow(1, begin, width);
            const auto gradient = [&](int64_t tower, const Rectangles::Span& rows) {
              return gradientOf(tower).groups[g].narrow(0, rows.begin, rows.count).narrow(1, begin, width);
            };
            if (measure.learned) {
              const at::Tensor sums = kernels::halfProduct(tile, right);
              scaleSlope_.add_(left.mul(sums).sum(at::kDouble), times[g]);
              if (trainsRows) gradient(rowTower, place.rows).add_(sums, times[g]);
            } else if (trainsRows) {
              kernels::addHalfProduct(gradient(rowTower, place.rows), tile, right, times[g]);
            }
            if (trainsColumns)
              kernels::addHalfProduct(gradient(columnTower, place.columns), tile.t(), left, times[g]);
          }
        }
      });
  return true;
}

at::Tensor NestedLevels::takeGradient(int64_t tower) {
  TowerGradient taken = std::exchange(gradients_[tower], {});
  if (taken.groups.empty()) return {};
  const int64_t rows = longest_.rows(tower);
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
      at::Tensor turn = own.narrow(1, 0, lengths_[last])
                            .mul(units.narrow(1, 0, lengths_[last]))
                            .sum({1});  // of both lengths
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
    place.tower.backToRows(place.begin, sum.narrow(1, 0, lengths_.back()));
  }
  return all;
}

}  // namespace gradcache
