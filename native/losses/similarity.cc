#include "losses/similarity.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace gradcache {

namespace {

// Sizes for a device.
struct Limits {
  int64_t bandRows;    // most rows of a tile
  int64_t tileBytes;   // of scores
  int64_t keptBytes;   // of the scores that a strip keeps; of dot products, where several are swept together
  int64_t smallBytes;  // of the scores that whole() keeps
  int64_t leastRows;   // a strip with fewer rows costs more than computing scores twice
};

// On the CPU a tile stays in a cache between the operators that go over it. On a GPU it fills the device.
// `strips` are swept together.
Limits limitsOf(const at::TensorOptions& numbers, int64_t strips) {
  constexpr int64_t kMiB = int64_t{1} << 20;
  if (numbers.device().is_cpu()) {
    if (strips == 1) return {512, 2 * kMiB, 16 * kMiB, 16 * kMiB, 64};
    const int64_t kept = 16 * kMiB * std::min<int64_t>(strips, 4) / strips;
    return {512, kMiB / 2, kept, kept, 64};
  }
  if (strips > 1) return {4096, 64 * kMiB, 0, 0, 256};
  return {4096, 64 * kMiB, 256 * kMiB, 64 * kMiB, 256};
}

// Fewer rows take as long in one way as in the other.
constexpr int64_t kLeastSplit = 2048;

// Lengths of rows that are split, at most.
constexpr double kMostApart = 16;

// In a ring a process may hold no row of a tower.
void check(const std::vector<at::Tensor>& representations, bool inRing) {
  require(!representations.empty(), "SHAPE", "the loss needs representations; there is no tower");
  const at::Tensor& first = representations[0];
  for (size_t k = 0; k < representations.size(); ++k) {
    const at::Tensor& tensor = representations[k];
    require(tensor.dim() == 2, "SHAPE", "representations of tower ", k, " have shape ", tensor.sizes(),
            ", expected [rows, dimension]");
    require(inRing || tensor.size(0) > 0, "SHAPE", "tower ", k, " has no row");
    require(tensor.size(1) == first.size(1), "SHAPE", "tower ", k, " has dimension ", tensor.size(1),
            ", the anchors have ", first.size(1));
    require(tensor.scalar_type() == first.scalar_type(), "DTYPE", "tower ", k, " has type ",
            tensor.scalar_type(), ", the anchors have ", first.scalar_type());
    require(tensor.layout() == at::kStrided || tensor.layout() == at::kSparse, "INPUT",
            "representations of tower ", k, " have the layout ", tensor.layout(),
            "; Strided and Sparse are known");
    require(tensor.device() == first.device(), "DEVICE", "tower ", k, " is on ", tensor.device(),
            ", the anchors are on ", first.device());
  }
  require(first.scalar_type() == at::kFloat || first.scalar_type() == at::kDouble, "DTYPE",
          "the loss takes float32 or float64 representations, got ", first.scalar_type());
}

}  // namespace

Similarity::Similarity(const std::vector<at::Tensor>& representations, const Measure& measure,
                       std::vector<bool> trained, const Share* share)
    : measure_(measure), trained_(std::move(trained)), share_(share) {
  const bool inRing = share != nullptr && share->inRing();
  check(representations, inRing);
  numbers_ = representations[0].options().layout(at::kStrided);
  width_ = representations[0].size(1);
  require(!measure.fast || numbers_.dtype() == at::kFloat, "DTYPE",
          "precision 'fast' takes float32 representations, got ", numbers_.dtype(), "; use 'exact'");
  if (inRing) {
    ring_.emplace(*share, representations, measure.cosine);
    towers_ = ring_->takeTowers();
  } else {
    for (const at::Tensor& tensor : representations) towers_.push_back(Tower::of(tensor, measure.cosine));
  }
  scaleSlope_ = at::zeros({}, numbers_.dtype(at::kDouble));
  biasSlope_ = at::zeros_like(scaleSlope_);
}

void Similarity::allowKernels() {
  if (levels_ != nullptr && !measure_.fast) return;
  const bool dense =
      std::all_of(towers_.begin(), towers_.end(), [](const auto& tower) { return tower->isDense(); });
  if (measure_.fast) {
    require(dense, "INPUT", "precision 'fast' takes dense representations: use 'exact'");
    products_ = Products::kHalf;
    return;
  }
  const bool pays = measure_.split || (numbers_.device().is_cuda() && numbers_.dtype() == at::kFloat &&
                                       std::any_of(towers_.begin(), towers_.end(), [](const auto& tower) {
                                         return tower->rows() >= kLeastSplit;
                                       }));
  // Rows that are much shorter than others would keep too few of their places.
  if (pays && dense && greatestLength() <= kMostApart * leastLength()) products_ = Products::kSplit;
}

double Similarity::greatestLength() const {
  if (greatestLength_ < 0) {
    greatestLength_ = 0;
    for (const auto& tower : towers_) greatestLength_ = std::max(greatestLength_, tower->lengths().second);
  }
  return greatestLength_;
}

double Similarity::leastLength() const {
  double length = INFINITY;
  for (const auto& tower : towers_) length = std::min(length, tower->lengths().first);
  return length;
}

double Similarity::bound() const {
  const double length = greatestLength();
  // A rounded cosine can be a little above 1.
  return 1.001 * measure_.scale * length * length + std::abs(measure_.bias);
}

Pairing Similarity::pair(int64_t rows, std::vector<int64_t> columns) {
  return Pairing(*this, rows, std::move(columns));
}

std::vector<int64_t> Similarity::towersFrom(int64_t first) const {
  std::vector<int64_t> numbers;
  for (int64_t tower = first; tower < towers(); ++tower) numbers.push_back(tower);
  return numbers;
}

Pairing Similarity::pairFrom(int64_t rows, int64_t first) { return pair(rows, towersFrom(first)); }

std::vector<at::Tensor> Similarity::takeGradients(double weight) {
  std::vector<at::Tensor> gradients;
  for (int64_t tower = 0; tower < towers(); ++tower)
    gradients.push_back(trains(tower) ? towers_[tower]->takeGradient(weight) : at::Tensor());
  return gradients;
}

Pairing::Pairing(Similarity& similarity, int64_t rows, std::vector<int64_t> columns)
    : similarity_(similarity), rowTower_(rows), columnTowers_(std::move(columns)) {
  for (int64_t tower : columnTowers_) {
    firsts_.push_back(columns_);
    columns_ += similarity.rows(tower);
  }
  if (!similarity.ring_) return;
  // All know it of all: none waits for a process that has no strip.
  const Share& share = *similarity.share();
  for (int64_t process = 0; process < share.count(); ++process)
    require(share.heldBy(process, rows).count > 0, "INPUT", "rank ", process, " has no row of tower ", rows,
            ", whose rows this loss compares with all others: give each rank one, or the exchange 'gather'");
}

Share::Part Pairing::visited() const {
  const Share* share = similarity_.share();
  return share == nullptr ? Share::Part{0, rows()} : share->of(rowTower_, rows());
}

void Pairing::eachStrip(const std::function<void(Strip&)>& visit) {
  const auto [first, count] = visited();
  if (count == 0) return;
  if (similarity_.products() != Products::kTiles) {
    Strip strip(*this, first, count, false);
    return visit(strip);
  }
  const int64_t kept = keptRows();
  // Each strip would send all blocks round.
  if (similarity_.ring_) return eachStrip(count, kept >= count, visit);
  const int64_t least = limitsOf(similarity_.numbers(), similarity_.strips()).leastRows;
  const bool keeps = kept >= std::min(least, count);
  eachStrip(keeps ? kept : count, keeps, visit);
}

void Pairing::eachKeptStrip(const std::function<void(Strip&)>& visit) {
  require(similarity_.products() == Products::kTiles && similarity_.levels_ == nullptr && !similarity_.ring_,
          "INPUT", "the loss has no precision 'fast', no several lengths at once, and no ring");
  eachStrip(std::max<int64_t>(keptRows(), 1), true, visit);
}

int64_t Pairing::keptRows() const {
  const int64_t rowBytes = columns_ * static_cast<int64_t>(similarity_.numbers().dtype().itemsize());
  return limitsOf(similarity_.numbers(), similarity_.strips()).keptBytes / rowBytes;
}

void Pairing::eachStrip(int64_t height, bool keeps, const std::function<void(Strip&)>& visit) {
  const auto [first, count] = visited();
  for (int64_t begin = first; begin < first + count; begin += height) {
    Strip strip(*this, begin, std::min(height, first + count - begin), keeps);
    visit(strip);
  }
}

Strip Pairing::whole() {
  const Share* share = similarity_.share();
  if (similarity_.products() != Products::kTiles) return Strip(*this, 0, rows(), false, share);
  const auto bytes =
      visited().count * columns_ * static_cast<int64_t>(similarity_.numbers().dtype().itemsize());
  const bool keeps = bytes <= limitsOf(similarity_.numbers(), similarity_.strips()).smallBytes;
  return Strip(*this, 0, rows(), keeps, share);
}

at::Tensor Pairing::scoresAt(const Tile& tile) const {
  const Measure& measure = similarity_.measure();
  const at::Tensor rows = similarity_.towers_[rowTower_]->compared(tile.row, tile.rows).mul(measure.scale);
  std::vector<at::Tensor> parts;
  for (size_t k = 0; k < columnTowers_.size(); ++k) {
    const Tower& tower = *similarity_.towers_[columnTowers_[k]];
    const int64_t begin = std::max(tile.column, firsts_[k]);
    const int64_t end = std::min(tile.column + tile.columns, firsts_[k] + tower.rows());
    if (begin < end) parts.push_back(at::mm(rows, tower.compared(begin - firsts_[k], end - begin).t()));
  }
  at::Tensor scores = parts.size() == 1 ? parts[0] : at::cat(parts, 1);
  return measure.bias == 0 ? scores : scores.add_(measure.bias);
}

Strip::Strip(Pairing& pairing, int64_t begin, int64_t rows, bool keeps, const Share* share)
    : pairing_(pairing), begin_(begin), rows_(rows), share_(share), keeps_(keeps) {
  const Share::Part visited =
      share == nullptr ? Share::Part{begin, rows} : share->of(pairing.rowTower_, rows);
  visitedBegin_ = visited.begin;
  visited_ = visited.count;
  const Similarity& similarity = pairing.similarity_;
  if (similarity.products() != Products::kTiles) return;  // its scores are nowhere
  const Limits limits = limitsOf(similarity.numbers(), similarity.strips());
  const auto bytes = static_cast<int64_t>(similarity.numbers().dtype().itemsize());
  band_ = std::min({rows, limits.bandRows, similarity.towers_[pairing.rowTower_]->mostRows()});
  int64_t most = std::max<int64_t>(limits.tileBytes / (band_ * bytes), 1);
  for (const int64_t tower : pairing.columnTowers_)
    most = std::min(most, similarity.towers_[tower]->mostRows());
  for (int64_t block = 0; block < blocks(); ++block) {
    std::vector<Part>& parts = parts_.emplace_back();
    for (size_t k = 0; k < pairing.columnTowers_.size(); ++k) {
      const auto [first, count] = columnsOf(block, k);
      for (int64_t from = first; from < first + count; from += most)
        parts.push_back({pairing.columnTowers_[k], from, pairing.firsts_[k] + from,
                         std::min(most, first + count - from)});
    }
  }
  if (similarity.levels_ != nullptr && !keeps_) return;  // they have memory for a tile
  const int64_t needed = keeps_ ? visited_ * pairing.columns() : band_ * std::min(most, pairing.columns());
  at::Tensor& memory = pairing.memory_;
  if (!memory.defined() || memory.numel() < needed) memory = at::empty({needed}, similarity.numbers());
}

void Strip::eachBlock(bool adds, const std::function<void(int64_t)>& visit) {
  Similarity& similarity = pairing_.similarity_;
  if (!similarity.ring_) return visit(0);
  std::vector<bool> trained;
  for (const int64_t tower : pairing_.columnTowers_) trained.push_back(adds && similarity.trains(tower));
  similarity.ring_->turn(pairing_.columnTowers_, trained, visit);
}

int64_t Strip::blocks() const {
  return pairing_.similarity_.ring_ ? pairing_.similarity_.share()->count() : 1;
}

Share::Part Strip::columnsOf(int64_t block, size_t k) const {
  const Similarity& similarity = pairing_.similarity_;
  const int64_t tower = pairing_.columnTowers_[k];
  return similarity.ring_ ? similarity.share()->heldBy(block, tower) : Share::Part{0, similarity.rows(tower)};
}

int64_t Strip::bandRows(int64_t row) const { return std::min(band_, visitedEnd() - row); }

// The rows of the band at `row`, so that a product with compared columns is the score without the bias.
at::Tensor Strip::operand(int64_t row) const {
  const Similarity& similarity = pairing_.similarity_;
  const at::Tensor rows = similarity.towers_[pairing_.rowTower_]->compared(row, bandRows(row));
  return similarity.measure().scale == 1 ? rows : rows.mul(similarity.measure().scale);
}

at::Tensor Strip::place(int64_t row, const Part& part) const {
  const int64_t count = bandRows(row);
  const int64_t offset = keeps_ ? (row - visitedBegin_) * pairing_.columns() + count * part.column : 0;
  return pairing_.memory_.narrow(0, offset, count * part.columns).view({count, part.columns});
}

Tile Strip::tile(int64_t row, const Part& part, const at::Tensor& rows, const at::Tensor& columns) {
  at::Tensor scores = place(row, part);
  if (!kept_) {
    at::mm_out(scores, rows, columns.t());
    const double bias = pairing_.similarity_.measure().bias;
    if (bias != 0) scores.add_(bias);
  }
  return {row, bandRows(row), part.column, part.columns, scores};
}

void Strip::requireTiles() const {
  require(!similarity().measure().fast && similarity().products() == Products::kTiles, "INPUT",
          "the loss has no precision 'fast' with these settings: use 'exact'");
}

void Strip::sweep(const std::function<void(const Tile&)>& visit) {
  requireTiles();
  if (pairing_.similarity_.levels_ != nullptr) {
    pairing_.similarity_.levels_->sweep(pairing_.similarity_.level_, *this, visit);
    kept_ = keeps_;
    return;
  }
  const auto& towers = pairing_.similarity_.towers_;
  eachBlock(false, [&](int64_t block) {
    for (int64_t row = visitedBegin_; row < visitedEnd(); row += band_) {
      const at::Tensor rows = operand(row);
      for (const Part& part : parts_[block])
        visit(tile(row, part, rows, towers[part.tower]->compared(part.begin, part.columns)));
    }
  });
  kept_ = keeps_;
}

void Strip::transform(const std::function<void(const Tile&)>& visit) {
  sweep(visit);
  transformed_ = keeps_ && pairing_.similarity_.levels_ == nullptr;  // what is kept there are dot products
}

const Similarity& Strip::similarity() const { return pairing_.similarity_; }

void Strip::addBiasSlope(const at::Tensor& part) { pairing_.similarity_.biasSlope_.add_(part); }

int64_t Strip::columns() const { return pairing_.columns(); }

std::vector<int64_t> Strip::columnTowerRows() const {
  std::vector<int64_t> rows;
  for (const int64_t tower : pairing_.columnTowers_) rows.push_back(similarity().rows(tower));
  return rows;
}

bool Strip::hasGradients() const {
  const Similarity& similarity = pairing_.similarity_;
  bool any = similarity.measure().learned || similarity.trains(pairing_.rowTower_);
  for (int64_t tower : pairing_.columnTowers_) any = any || similarity.trains(tower);
  return any;
}

void Strip::gradients(const std::function<at::Tensor(const Tile&)>& visit) {
  requireTiles();
  Similarity& similarity = pairing_.similarity_;
  if (similarity.levels_ != nullptr) {
    similarity.levels_->gradients(similarity.level_, *this, visit);
    kept_ = false;
    return;
  }
  const Measure& measure = similarity.measure();
  const bool trainsRows = similarity.trains(pairing_.rowTower_);
  eachBlock(true, [&](int64_t block) {
    for (int64_t row = visitedBegin_; row < visitedEnd(); row += band_) {
      const at::Tensor rows = operand(row);
      at::Tensor ofRows = trainsRows || measure.learned ? at::zeros_like(rows) : at::Tensor();
      for (const Part& part : parts_[block]) {
        Tower& tower = *similarity.towers_[part.tower];
        const at::Tensor columns = tower.compared(part.begin, part.columns);
        const at::Tensor gradient = visit(tile(row, part, rows, columns));
        if (measure.learned) similarity.biasSlope_.add_(gradient.sum(at::kDouble));
        if (similarity.trains(part.tower)) tower.addProduct(part.begin, gradient.t(), rows);
        if (ofRows.defined()) ofRows.addmm_(gradient, columns);
      }
      if (measure.learned) similarity.scaleSlope_.add_(ofRows.mul(rows).sum(at::kDouble));
      if (trainsRows) similarity.towers_[pairing_.rowTower_]->add(row, ofRows, measure.scale);
    }
  });
  kept_ = transformed_ = false;
}

}  // namespace gradcache
