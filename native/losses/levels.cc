#include "losses/levels.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "core/error.h"
#include "kernels/cosines/cosines.h"

namespace gradcache {

namespace {

// Rows whose gradient is brought back through the division by their lengths at once.
constexpr int64_t kSlice = 512;

std::vector<at::Tensor> beginningsOf(const std::vector<at::Tensor>& representations, int64_t dimension) {
  std::vector<at::Tensor> beginnings;
  for (size_t tower = 0; tower < representations.size(); ++tower) {
    const at::Tensor& rows = representations[tower];
    require(rows.layout() == at::kStrided, "INPUT", "representations of tower ", tower,
            " are sparse, and are to be cut to ", dimension, " numbers");
    require(rows.dim() == 2 && dimension > 0 && dimension <= rows.size(1), "SHAPE",
            "representations of tower ", tower, " have shape ", rows.sizes(), ", and are to be cut to ",
            dimension, " numbers");
    beginnings.push_back(rows.narrow(1, 0, dimension));
  }
  return beginnings;
}

// The stream that work on this device goes to in this thread; none on the CPU.
std::optional<c10::Stream> streamHere(const at::Device& device) {
  if (device.is_cpu()) return std::nullopt;
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

}  // namespace

Levels::Levels(const std::vector<at::Tensor>& representations, const Measure& measure,
               const std::vector<bool>& trained, std::vector<Length> lengths, const Share* share) {
  require(!lengths.empty(), "SHAPE", "there is no length to cut representations to");
  require(share == nullptr || !share->inRing(), "INPUT",
          "several lengths at once take the exchange 'gather': compute one after the other");
  std::sort(lengths.begin(), lengths.end(),
            [](const Length& a, const Length& b) { return a.dimension < b.dimension; });
  for (const at::Tensor& rows : representations)
    representations_.push_back(rows.layout() == at::kStrided ? rows.contiguous() : rows);
  int64_t begin = 0;
  for (const Length& length : lengths) {
    require(length.dimension > begin, "SHAPE", "representations are to be cut to ", length.dimension,
            " numbers twice");
    const Measure cosine{true, measure.scale, measure.bias, measure.learned, measure.fast};
    Level& level = levels_.emplace_back(length, begin, beginningsOf(representations_, length.dimension),
                                        cosine, trained, share);
    level.similarity.levels_ = this;
    level.similarity.level_ = static_cast<int64_t>(levels_.size()) - 1;
    for (const at::Tensor& rows : representations_) {
      const at::Tensor norms =
          at::linalg_vector_norm(rows.narrow(1, 0, length.dimension), 2, at::IntArrayRef{1});
      level.inverses.push_back(norms.clamp_min(kLeastLength).reciprocal_());
      level.turns.push_back(at::zeros({rows.size(0)}, rows.options()));
    }
    begin = length.dimension;
  }
  scaleSlope_ = at::zeros({}, representations_[0].options().dtype(at::kDouble));
  if (isFast()) {
    gradients_.resize(representations_.size());
    nest();
    return;
  }
  for (size_t tower = 0; tower < representations_.size(); ++tower)
    gradients_.push_back(trains(static_cast<int64_t>(tower)) ? at::zeros_like(representations_[tower])
                                                             : at::Tensor());
}

void Levels::nest() {
  std::vector<int64_t> dimensions;
  std::vector<double> weights;
  std::vector<std::vector<at::Tensor>> inverses;
  for (const Level& level : levels_) {
    dimensions.push_back(level.length.dimension);
    weights.push_back(level.length.weight);
    inverses.push_back(level.inverses);
  }
  const at::Tensor& first = representations_[0];
  bool able = kernels::takesNested(first.device(), dimensions);
  if (const Share* share = levels_[0].similarity.share()) {
    const at::Tensor unable = at::full({1}, able ? 0 : 1, first.options().dtype(at::kDouble));
    share->most(unable);
    able = unable.item<double>() == 0;
  }
  if (able)
    nested_.emplace(levels_.back().similarity, first.size(1), std::move(dimensions), std::move(weights),
                    inverses);
}

LossResult Levels::compute(const std::function<std::unique_ptr<TiledLoss>()>& make, double weight) {
  std::vector<std::unique_ptr<TiledLoss>> losses;
  std::vector<LossSums> sums;
  for (const Level& level : levels_) {
    losses.push_back(make());
    sums.emplace_back(level.similarity.numbers());
  }
  const std::optional<c10::Stream> stream = streamHere(representations_[0].device());
  meetings_.run(
      static_cast<int64_t>(levels_.size()),
      [&](int64_t k) {
        const c10::OptionalStreamGuard here(stream);
        losses[k]->compute(levels_[k].similarity, sums[k]);
        if (isFast()) addOwnGradients(levels_[k], weight);
      },
      [&] { together(); });

  LossResult result;
  for (size_t tower = 0; tower < representations_.size(); ++tower)
    result.gradients.push_back(takeGradient(static_cast<int64_t>(tower), weight));
  const bool learned = levels_[0].similarity.measure().learned;
  for (size_t k = 0; k < levels_.size(); ++k) {
    const double share = levels_[k].length.weight;
    result.loss += share * sums[k].loss();
    if (!learned) continue;
    sums[k].addSlope("bias", levels_[k].similarity.biasSlope());
    sums[k].addSlope("scale", levels_[k].similarity.scaleSlope());
    for (const auto& [setting, slope] : sums[k].slopes())
      result.slopes[setting] += share * weight * slope.item<double>();
  }
  if (learned) result.slopes["scale"] += weight * scaleSlope_.item<double>();
  if (learned && nested_) result.slopes["scale"] += weight * nested_->scaleSlope().item<double>();
  return result;
}

void Levels::sweep(int64_t level, Strip& strip, const std::function<void(const Tile&)>& visit) {
  levels_[level].wish = {.strip = &strip, .sweep = &visit};
  meetings_.meet(level);
}

void Levels::gradients(int64_t level, Strip& strip, const std::function<at::Tensor(const Tile&)>& visit) {
  levels_[level].wish = {.strip = &strip, .gradients = &visit};
  meetings_.meet(level);
}

bool Levels::takes(const Rectangles& rectangles) const { return nested_ && nested_->takes(rectangles); }

JointSums Levels::sums(int64_t level, const Rectangles& rectangles, bool ofColumns) {
  Wish& wish = levels_[level].wish;
  wish = {.rectangles = &rectangles, .ofColumns = ofColumns};
  meetings_.meet(level);
  return std::move(wish.sums);
}

bool Levels::addGradient(int64_t level, const Rectangles& rectangles, const JointGradient& gradient) {
  Wish& wish = levels_[level].wish;
  wish = {.rectangles = &rectangles, .gradient = &gradient};
  meetings_.meet(level);
  return wish.added;
}

void Levels::together() {
  const auto areRectangles = [](const Level& level) { return level.wish.rectangles != nullptr; };
  const bool rectangles = areRectangles(levels_[0]);
  for (const Level& level : levels_)
    require(areRectangles(level) == rectangles, "INPUT",
            "a loss went over other tiles at some lengths than at others");
  rectangles ? rectanglesTogether() : tilesTogether();
}

void Levels::rectanglesTogether() {
  const Wish& longest = levels_.back().wish;
  for (const Level& level : levels_) {
    require(level.wish.rectangles->covers(*longest.rectangles) && level.wish.ofColumns == longest.ofColumns &&
                (level.wish.gradient != nullptr) == (longest.gradient != nullptr),
            "INPUT", "a loss went over other pairs at some lengths than at others");
  }
  if (longest.gradient != nullptr) {
    std::vector<JointGradient> gradients;
    for (const Level& level : levels_) gradients.push_back(*level.wish.gradient);
    const bool added = nested_->addGradient(*longest.rectangles, gradients);
    for (Level& level : levels_) level.wish.added = added;
    return;
  }
  std::vector<JointSums> found = nested_->sums(*longest.rectangles, longest.ofColumns);
  for (size_t k = 0; k < levels_.size(); ++k) levels_[k].wish.sums = std::move(found[k]);
}

void Levels::tilesTogether() {
  const Strip& first = *levels_[0].wish.strip;
  const Pairing& pairing = first.pairing_;
  const bool adds = levels_[0].wish.gradients != nullptr;
  for (const Level& level : levels_) {
    const Strip& strip = *level.wish.strip;
    require(strip.begin_ == first.begin_ && strip.rows_ == first.rows_ &&
                strip.pairing_.rowTower_ == pairing.rowTower_ &&
                strip.pairing_.columnTowers_ == pairing.columnTowers_ &&
                (level.wish.gradients != nullptr) == adds,
            "INPUT", "a loss went over other tiles at some lengths than at others");
  }
  // Operators on small tensors take a part of the time. Nothing here has a graph: they need not ask for one.
  const at::AutoDispatchBelowADInplaceOrView withoutGraph;
  for (int64_t row = first.visitedBegin_; row < first.visitedEnd(); row += first.band_) {
    const Side rows{pairing.rowTower_, row, first.bandRows(row)};
    at::Tensor ofRows;
    if (adds && trains(rows.tower)) ofRows = at::zeros_like(of(rows));
    for (const Strip::Part& part : first.parts_[0]) visit(row, part, ofRows);
    if (ofRows.defined()) gradients_[rows.tower].narrow(0, row, rows.count).add_(ofRows);
  }
}

at::Tensor Levels::of(const Side& side) const {
  return representations_[side.tower].narrow(0, side.begin, side.count);
}

void Levels::visit(int64_t row, const Strip::Part& part, at::Tensor& ofRows) {
  const Strip& strip = *levels_[0].wish.strip;
  const Side rowSide{strip.pairing_.rowTower_, row, strip.bandRows(row)};
  const Side columnSide{part.tower, part.begin, part.columns};
  const at::Tensor rows = of(rowSide), columns = of(columnSide);
  const std::vector<at::Tensor> dots = multiply(row, part, rows, columns);
  Tile tile{row, rowSide.count, part.column, part.columns, {}};
  tile.scores = memory(levels_.size(), rowSide.count, columnSide.count);
  // dL/d(dot product) of this length and of all longer ones
  const at::Tensor ofDots = memory(levels_.size() + 1, rowSide.count, columnSide.count);
  for (auto k = static_cast<int64_t>(levels_.size()) - 1; k >= 0; --k) {
    Level& level = levels_[k];
    Similarity& similarity = level.similarity;
    const Measure& measure = similarity.measure();
    const auto inverse = [&](const Side& side) {
      return level.inverses[side.tower].narrow(0, side.begin, side.count);
    };
    const kernels::CosineFactors factors{inverse(rowSide).mul(measure.scale), inverse(columnSide)};
    kernels::cosines(tile.scores, dots[k], factors, measure.bias);
    if (level.wish.sweep != nullptr) {
      (*level.wish.sweep)(tile);
      continue;
    }
    const at::Tensor ofScores = (*level.wish.gradients)(tile);
    if (measure.learned) similarity.biasSlope_.add_(ofScores.sum(at::kDouble));
    const bool longest = k == static_cast<int64_t>(levels_.size()) - 1;
    const at::Tensor turned =
        kernels::addDotGradient(ofDots, longest, ofScores, dots[k], factors, level.length.weight,
                                level.turns[columnSide.tower].narrow(0, columnSide.begin, columnSide.count));
    level.turns[rowSide.tower].narrow(0, rowSide.begin, rowSide.count).add_(turned);
    if (measure.learned) scaleSlope_.add_(turned.sum(at::kDouble));
    const int64_t begin = level.begin, width = level.length.dimension - begin;
    if (ofRows.defined()) ofRows.narrow(1, begin, width).addmm_(ofDots, columns.narrow(1, begin, width));
    if (!trains(columnSide.tower)) continue;
    gradients_[columnSide.tower]
        .narrow(0, columnSide.begin, columnSide.count)
        .narrow(1, begin, width)
        .addmm_(ofDots.t(), rows.narrow(1, begin, width));
  }
}

std::vector<at::Tensor> Levels::multiply(int64_t row, const Strip::Part& part, const at::Tensor& rows,
                                         const at::Tensor& columns) {
  std::vector<at::Tensor> dots;
  for (size_t k = 0; k < levels_.size(); ++k) {
    const Strip& strip = *levels_[k].wish.strip;
    dots.push_back(strip.keeps_ ? strip.place(row, part) : memory(k, rows.size(0), columns.size(0)));
    if (strip.kept_) continue;
    const int64_t begin = levels_[k].begin, width = levels_[k].length.dimension - begin;
    const at::Tensor first = rows.narrow(1, begin, width), second = columns.narrow(1, begin, width).t();
    if (k == 0) {
      at::mm_out(dots[k], first, second);
    } else {
      at::addmm_out(dots[k], dots[k - 1], first, second);
    }
  }
  return dots;
}

at::Tensor Levels::memory(size_t place, int64_t rows, int64_t columns) {
  if (memory_.size() <= place) memory_.resize(place + 1);
  at::Tensor& memory = memory_[place];
  const int64_t needed = rows * columns;
  if (!memory.defined() || memory.numel() < needed)
    memory = at::empty({needed}, representations_[0].options());
  return memory.narrow(0, 0, needed).view({rows, columns});
}

// No meeting comes after a loss has ended: what it did not meet for is added at once, and the next one has
// that memory.
void Levels::addOwnGradients(Level& level, double weight) {
  for (size_t k = 0; k < representations_.size(); ++k) {
    const auto tower = static_cast<int64_t>(k);
    if (!trains(tower)) continue;
    at::Tensor& gradient = gradients_[k];
    if (!gradient.defined()) {
      if (nested_) gradient = nested_->takeGradient(tower);
      if (!gradient.defined()) gradient = at::zeros_like(representations_[k]);
      if (weight != 1) gradient.mul_(weight);
    }
    gradient.narrow(1, 0, level.length.dimension)
        .add_(level.similarity.towers_[tower]->takeGradient(level.length.weight * weight));
  }
}

at::Tensor Levels::takeGradient(int64_t tower, double weight) {
  if (!trains(tower)) return {};
  return isFast() ? std::move(gradients_[tower]) : takeGradientOfTiles(tower, weight);
}

at::Tensor Levels::takeGradientOfTiles(int64_t tower, double weight) {
  const at::Tensor& rows = representations_[tower];
  for (int64_t begin = 0; begin < rows.size(0); begin += kSlice) {
    const int64_t count = std::min(kSlice, rows.size(0) - begin);
    at::Tensor part = gradients_[tower].narrow(0, begin, count);
    for (const Level& level : levels_) {
      const at::Tensor inverse = level.inverses[tower].narrow(0, begin, count);
      const at::Tensor turn =
          level.turns[tower].narrow(0, begin, count).mul(inverse).mul_(inverse).unsqueeze(1);
      const int64_t width = level.length.dimension;
      part.narrow(1, 0, width).sub_(rows.narrow(0, begin, count).narrow(1, 0, width).mul(turn));
    }
    if (weight != 1) part.mul_(weight);
  }
  return std::move(gradients_[tower]);
}

}  // namespace gradcache
