#include "losses/rectangles.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace gradcache {

namespace {

// Most rows and columns of a rectangle. Those of a GPU keep all multiprocessors of an H200 at work, and need
// about a third of a gigabyte for sums and 1.1 for tiles.
struct Sizes {
  int64_t sums;           // of both sides
  int64_t rows, columns;  // of tiles
  // Most products that tensor cores add up: they cut the last place off, where float32 rounds it.
  int64_t depth;
};

Sizes sizesOf(const at::TensorOptions& numbers, bool split) {
  if (numbers.device().is_cpu()) return {512, 256, 512, 512};
  if (split) return {32'768, 8448, 16'896, 4224};
  return {65'536, 16'896, 33'792, 33'792};
}

// Split rows are whole numbers up to this, of which sums of products up to 2^24 are exact: those of all rows
// whose length is 1.
constexpr double kWhole = 4096;

// Of so many rows and columns scores of up to kCommonScale are products of bfloat16: a GPU at the limit of
// its power is a twentieth faster with these, and their rounding, eight times that of float16, is averaged
// over all rows.
constexpr int64_t kManyRows = int64_t{1} << 19;
constexpr double kCommonScale = 40;

// Where the low part of a split operand begins, and the high part after it.
int64_t lowOf(bool ofRows, int64_t padded) { return ofRows ? 0 : padded; }

}  // namespace

Rectangles::Rectangles(Strip& strip, double scale, std::optional<int64_t> diagonal,
                       const std::vector<at::Tensor>& lists)
    : strip_(strip),
      pairing_(strip.pairing_),
      similarity_(strip.pairing_.similarity_),
      scale_(scale),
      width_(similarity_.width()),
      padded_(kernels::paddedWidth(width_)),
      type_(takesFloat16() ? at::kHalf : at::kBFloat16),
      diagonal_(diagonal) {
  // A power of two, so that rows lose nothing.
  if (splits()) unit_ = std::ldexp(1.0, std::ilogb(kWhole / similarity_.greatestLength()));
  if (!lists.empty()) targets_ = at::stack(lists).to(at::kInt);
}

bool Rectangles::takesFloat16() const {
  if (splits()) return true;
  const bool many = pairing_.rows() >= kManyRows && pairing_.columns() >= kManyRows;
  return similarity_.measure().cosine && !(many && similarity_.measure().scale <= kCommonScale);
}

std::vector<Rectangles::Span> Rectangles::spans(int64_t count, int64_t most, int64_t first) {
  std::vector<Span> all;
  for (int64_t begin = 0; begin < count; begin += most)
    all.push_back({first + begin, std::min(most, count - begin)});
  return all;
}

std::vector<Rectangles::Span> Rectangles::rowSpans(int64_t most) const {
  return spans(strip_.visited_, most, strip_.visitedBegin_);
}

Rectangles::Place Rectangles::placeOf(const Span& rows, size_t k, const Span& columns) const {
  return {rows, rows.begin - strip_.begin(), k, columns, pairing_.firsts_[k] + columns.begin};
}

int Rectangles::shiftFor(double greatest) const {
  if (type_ != at::kHalf || !(greatest > 0) || !std::isfinite(greatest)) return 0;
  return static_cast<int>(std::floor(13 - std::log2(greatest)));
}

std::vector<Rectangles::Span> Rectangles::columnSpans(int64_t block, size_t k, int64_t most) const {
  const Share::Part here = strip_.columnsOf(block, k);
  return spans(here.count, most, here.begin);
}

DenseRows Rectangles::dense(int64_t tower, const Span& span) const {
  return similarity_.towers_[tower]->dense(span.begin, span.count);
}

at::Tensor Rectangles::operand(const DenseRows& rows, int64_t count, bool ofRows) const {
  const kernels::Parts parts = ofRows ? kernels::Parts::kLowHighHigh : kernels::Parts::kHighLowHigh;
  at::Tensor operand = at::empty({count, (splits() ? 3 : 1) * padded_}, similarity_.numbers().dtype(type_));
  rows.tower.writeOperand(rows.begin, unit_, splits() ? parts : kernels::Parts::kWhole, operand);
  return operand;
}

kernels::Scores Rectangles::scoresOf(const at::Tensor& rows, const at::Tensor& columns,
                                     const Place& place) const {
  kernels::Scores scores{rows, columns, scale_ / (unit_ * unit_), bound(), {}, {}, place.column};
  if (diagonal_) scores.leftOut = *diagonal_ + place.rows.begin - place.column;
  if (targets_.defined()) scores.targets = targets_.narrow(1, place.row, place.rows.count);
  return scores;
}

bool Rectangles::covers(const Rectangles& other) const {
  const auto lists = [](const at::Tensor& targets) { return targets.defined() ? targets.size(0) : 0; };
  return strip_.begin() == other.strip_.begin() && strip_.rows() == other.strip_.rows() &&
         pairing_.rowTower_ == other.pairing_.rowTower_ &&
         pairing_.columnTowers_ == other.pairing_.columnTowers_ && scale_ == other.scale_ &&
         diagonal_ == other.diagonal_ && lists(targets_) == lists(other.targets_);
}

double Rectangles::bound() const { return similarity_.bound() * scale_ / similarity_.measure().scale; }

void Rectangles::sweep(const Visit& visit) const {
  const int64_t most = sizesOf(similarity_.numbers(), splits()).sums;
  each(most, most, false, visit);
}

void Rectangles::each(int64_t mostRows, int64_t mostColumns, bool adds, const Visit& visit) const {
  strip_.eachBlock(adds, [&](int64_t block) {
    for (size_t k = 0; k < pairing_.columnTowers_.size(); ++k) {
      for (const Span& columns : columnSpans(block, k, mostColumns)) {
        const at::Tensor right = operand(denseColumns(k, columns), columns.count, false);
        for (const Span& rows : rowSpans(mostRows)) {
          const Place place = placeOf(rows, k, columns);
          const at::Tensor left = operand(denseRows(rows), rows.count, true);
          visit(scoresOf(left, right, place), place);
        }
      }
    }
  });
}

at::Tensor Rectangles::product(const kernels::ScoreTile& tile, const at::Tensor& operand, bool ofRows) const {
  if (!splits()) return kernels::halfProduct(tile.whole, operand.narrow(1, 0, width_));
  // The operand's low and high parts lie beside one another, and so do their products.
  const at::Tensor both = operand.narrow(1, lowOf(ofRows, padded_), 2 * padded_),
                   high = both.narrow(1, padded_, padded_);
  at::Tensor sums = at::zeros({tile.whole.size(0), 2 * padded_}, similarity_.numbers());
  for (const Span& part : spans(operand.size(0), sizesOf(similarity_.numbers(), true).depth)) {
    const auto some = [&](const at::Tensor& of, int64_t along) {
      return of.narrow(along, part.begin, part.count);
    };
    kernels::addHalfProduct(sums, some(tile.whole, 1), some(both, 0), 1);
    kernels::addHalfProduct(sums.narrow(1, 0, padded_), some(tile.rest, 1), some(high, 0), 1);
  }
  return sums.narrow(1, 0, width_).add_(sums.narrow(1, padded_, width_));
}

void Rectangles::gradients(double factor, const Make& make) {
  const Measure& measure = similarity_.measure();
  const Sizes sizes = sizesOf(similarity_.numbers(), splits());
  const double times = factor * measure.scale / unit_;
  int64_t widest = 0;
  for (const int64_t tower : pairing_.columnTowers_) widest = std::max(widest, similarity_.rows(tower));
  const auto memory = [&] {
    return at::empty(
        {std::min(sizes.rows, strip_.visited_), kernels::paddedWidth(std::min(sizes.columns, widest))},
        similarity_.numbers().dtype(type_));
  };
  const kernels::ScoreTile whole{memory(), splits() ? memory() : at::Tensor()};
  const auto part = [](const at::Tensor& of, const Place& place) {
    return of.defined() ? of.narrow(0, 0, place.rows.count).narrow(1, 0, place.columns.count) : of;
  };
  const auto transposed = [](const at::Tensor& of) { return of.defined() ? of.t() : of; };
  const bool trainsRows = similarity_.trains(pairing_.rowTower_);
  each(sizes.rows, sizes.columns, true, [&](const kernels::Scores& scores, const Place& place) {
    const DenseRows ours = denseRows(place.rows), theirs = denseColumns(place.k, place.columns);
    const kernels::ScoreTile tile{part(whole.whole, place), part(whole.rest, place)};
    make(scores, place, tile);
    if (trainsRows && !measure.learned && !splits()) {
      kernels::addHalfProduct(ours.tower.gradient(ours.begin, place.rows.count), tile.whole,
                              scores.columns.narrow(1, 0, width_), times);
    } else if (trainsRows || measure.learned) {
      const at::Tensor sums = product(tile, scores.columns, false);
      if (trainsRows) ours.tower.add(ours.begin, sums, times);
      if (measure.learned)
        similarity_.scaleSlope_.add_(
            ours.tower.compared(ours.begin, place.rows.count).mul(sums).sum(at::kDouble).mul_(times));
    }
    if (!similarity_.trains(pairing_.columnTowers_[place.k])) return;
    const kernels::ScoreTile turned{transposed(tile.whole), transposed(tile.rest)};
    if (splits()) {
      theirs.tower.add(theirs.begin, product(turned, scores.rows, true), times);
    } else {
      kernels::addHalfProduct(theirs.tower.gradient(theirs.begin, place.columns.count), turned.whole,
                              scores.rows.narrow(1, 0, width_), times);
    }
  });
}

}  // namespace gradcache
