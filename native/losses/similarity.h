// Scores between the towers of a loss, and the way of their gradient back to the representations. A matrix of
// all scores never exists, and there is no autograd graph.
//
// A Similarity holds the towers. A loss pairs them: the rows of one tower with the rows of others, which are
// the columns of that pairing. It goes over a pairing's scores in sweeps, a tile at a time. A softmax over
// rows:
//
//   Pairing pairing = similarity.pair(0, {1, 2});
//   pairing.eachStrip([&](Strip& strip) {
//     LogSumExp sums(strip.rows(), similarity.numbers());                         // statistics.h
//     strip.sweep([&](const Tile& tile) { sums.add(tile.scores, 1, tile.row - strip.begin()); });
//     strip.gradients([&](const Tile& tile) { … returns dL/dscores of the tile … });
//   });
//
// A strip is some rows of a pairing with all of its columns. eachStrip() is for a loss that needs statistics
// of rows alone: it ends a strip before it begins the next, and keeps the strip's scores from one sweep to
// the next, so that none is computed twice. A loss that needs statistics of columns, or of several pairings,
// takes whole(), one strip of all rows, whose scores are computed in each sweep. A loss that needs no
// statistics has gradients() alone, and visits each tile once. softmax.h has the two sweeps of the losses
// that are softmaxes.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "losses/ring.h"
#include "losses/share.h"
#include "losses/tower.h"

namespace gradcache {

// How rows are compared: score = scale * similarity + bias.
struct Measure {
  bool cosine = true;  // else the dot product
  double scale = 1;
  double bias = 0;
  bool learned = false;  // true: dL/d(log scale) and dL/d(bias) are wanted
  bool fast = false;     // scores of half-precision rows: of a loss that allows kernels
  bool split = false;    // for tests: kernels split rows where they would not
};

// What scores are computed in: tiles of libtorch's products; or, of a loss that allows it, rectangles whose
// scores kernels do not write, of rows that are rounded to half precision or split (rectangles.h).
enum class Products { kTiles, kHalf, kSplit };

// Scores of some rows of a pairing with some of its columns, all of one tower.
struct Tile {
  int64_t row = 0, rows = 0;        // number of the first, and how many
  int64_t column = 0, columns = 0;  // the same; columns are numbered through all of their towers
  at::Tensor scores;                // [rows, columns]
};

class AllPairs;
class Distances;
class FusedSoftmax;
class Levels;
class NestedLevels;
class Pairing;
class Rectangles;
class Singles;
struct FusedSums;

class Strip;

// log sum exp of the rows of a strip, and of its columns where they are wanted; float64.
struct JointSums {
  at::Tensor rows, columns;
};

// The gradient of softmaxes with these normalizers, float64; those of columns may be undefined. `greatest` is
// about the largest sum of probabilities.
struct JointGradient {
  at::Tensor rows, columns, greatest;
};

// Goes over the tiles of a strip in its place, together with those of other strips.
class JointSweeps {
 public:
  virtual ~JointSweeps() = default;
  // How many strips are swept together.
  virtual int64_t count() const = 0;
  // What Strip has under these names. `level` is the number of the strip's Similarity.
  virtual void sweep(int64_t level, Strip& strip, const std::function<void(const Tile&)>& visit) = 0;
  virtual void gradients(int64_t level, Strip& strip,
                         const std::function<at::Tensor(const Tile&)>& visit) = 0;
  // Whether kernels sweep over the rectangles of all strips at once, for sums of exponentials and gradients
  // of softmaxes.
  virtual bool takes(const Rectangles& rectangles) const = 0;
  virtual JointSums sums(int64_t level, const Rectangles& rectangles, bool ofColumns) = 0;
  // False, of all strips alike: nothing was added, and each goes over its own.
  virtual bool addGradient(int64_t level, const Rectangles& rectangles, const JointGradient& gradient) = 0;
};

class Similarity {
 public:
  // One tensor [n_k, d] for each tower, float32 or float64, strided or sparse. `trained` says of each tower
  // whether its gradient is wanted; empty: of all. `share` (null: none) says which rows are visited; in a
  // ring the tensors are the rows of this process, and so are their gradients, and all else is said of the
  // rows of all. Throws INPUT, SHAPE, DTYPE or DEVICE.
  Similarity(const std::vector<at::Tensor>& representations, const Measure& measure,
             std::vector<bool> trained = {}, const Share* share = nullptr);

  int64_t towers() const { return static_cast<int64_t>(towers_.size()); }
  int64_t rows(int64_t tower) const { return towers_[tower]->rows(); }
  int64_t width() const { return width_; }  // of a row
  const Measure& measure() const { return measure_; }
  // Null: this process computes the loss alone.
  const Share* share() const { return share_; }
  // Element type and device of scores.
  const at::TensorOptions& numbers() const { return numbers_; }
  // Says that all sweeps of the loss are those of softmax.h or rectangles.h. A loss calls it before it pairs
  // towers. May wait for the device.
  void allowKernels();
  Products products() const { return products_; }
  // Element type and device of numbers of rows and columns: float64 beside kernels.
  at::TensorOptions statistics() const {
    return products_ == Products::kTiles ? numbers_ : numbers_.dtype(at::kDouble);
  }
  // The greatest length of a row as it is compared. May wait for the device.
  double greatestLength() const;
  // No score is greater than this, nor less than minus this. May wait for the device.
  double bound() const;

  // The rows of one tower with those of others. A tower may be on both sides.
  Pairing pair(int64_t rows, std::vector<int64_t> columns);
  // The numbers of tower `first` and of all behind it.
  std::vector<int64_t> towersFrom(int64_t first) const;
  // The rows of tower `rows` with those of tower `first` and of all behind it.
  Pairing pairFrom(int64_t rows, int64_t first);

  // After all sweeps: gradients of the representations, times `weight`; undefined for a tower that is not
  // trained.
  std::vector<at::Tensor> takeGradients(double weight);
  // dL/d(log scale) and dL/d(bias), float64 without dimensions. For a learned measure.
  const at::Tensor& scaleSlope() const { return scaleSlope_; }
  const at::Tensor& biasSlope() const { return biasSlope_; }

 private:
  friend class AllPairs;
  friend class Distances;
  friend class FusedSoftmax;
  friend class Levels;
  friend class NestedLevels;
  friend class Pairing;
  friend class Rectangles;
  friend class Singles;
  friend class Strip;
  double leastLength() const;
  bool trains(int64_t tower) const { return trained_.empty() || trained_[tower]; }
  // Those that kernels sweep over these rectangles for; null: the similarity goes over them alone.
  JointSweeps* joint(const Rectangles& rectangles) const {
    return levels_ != nullptr && levels_->takes(rectangles) ? levels_ : nullptr;
  }
  // How many strips are swept together: one, or one at each length.
  int64_t strips() const { return levels_ == nullptr ? 1 : levels_->count(); }

  const Measure measure_;
  const std::vector<bool> trained_;
  const Share* const share_;
  std::vector<std::unique_ptr<Tower>> towers_;
  std::optional<Ring> ring_;
  at::TensorOptions numbers_;
  int64_t width_ = 0;
  at::Tensor scaleSlope_, biasSlope_;
  mutable double greatestLength_ = -1;  // before it is asked for
  Products products_ = Products::kTiles;
  // Where this is one of several lengths, which are swept together (levels.h): all of them, and which one.
  JointSweeps* levels_ = nullptr;
  int64_t level_ = 0;
};

// Some rows of a pairing with all of its columns.
class Strip {
 public:
  int64_t begin() const { return begin_; }
  int64_t rows() const { return rows_; }
  int64_t columns() const;
  // How many of them are of each tower.
  std::vector<int64_t> columnTowerRows() const;
  // The share by which some of the rows are visited alone, and statistics must be added up. Null: all are.
  const Share* share() const { return share_; }

  const Similarity& similarity() const;

  // Beside sweeps of kernels: adds to dL/d(bias) of the similarity.
  void addBiasSlope(const at::Tensor& part);

  // False: a visit for gradients would add nothing to any tower or slope.
  bool hasGradients() const;

  // Visits every tile, to read its scores.
  void sweep(const std::function<void(const Tile&)>& visit);
  // The same for a visitor that puts something else in place of the scores, from which it can go on: if the
  // strip keeps its scores, the next sweep visits that, and transformed() is true.
  void transform(const std::function<void(const Tile&)>& visit);
  bool transformed() const { return transformed_; }
  // Visits every tile, and adds to the towers' gradients what follows from the result, dL/dscores [rows,
  // columns]. The visitor may overwrite the scores and return them. Ends the strip.
  void gradients(const std::function<at::Tensor(const Tile&)>& visit);

 private:
  friend class AllPairs;
  friend class FusedSoftmax;
  friend class Levels;
  friend class NestedLevels;
  friend class Pairing;
  friend class Rectangles;
  friend class Singles;
  // Columns of one tile.
  struct Part {
    int64_t tower = 0, begin = 0;     // rows of that tower
    int64_t column = 0, columns = 0;  // in the pairing
  };
  Strip(Pairing& pairing, int64_t begin, int64_t rows, bool keeps, const Share* share = nullptr);
  void requireTiles() const;
  // Columns that are here at the same time are a block: all, or in a ring those that a process holds. `adds`
  // says whether their gradients are added to.
  void eachBlock(bool adds, const std::function<void(int64_t block)>& visit);
  int64_t blocks() const;
  // The rows of the pairing's k-th column tower in a block.
  Share::Part columnsOf(int64_t block, size_t k) const;
  int64_t visitedEnd() const { return visitedBegin_ + visited_; }
  int64_t bandRows(int64_t row) const;
  at::Tensor operand(int64_t row) const;
  // Where the scores of a tile are.
  at::Tensor place(int64_t row, const Part& part) const;
  Tile tile(int64_t row, const Part& part, const at::Tensor& rows, const at::Tensor& columns);

  Pairing& pairing_;
  const int64_t begin_, rows_;
  const Share* const share_;
  int64_t visitedBegin_ = 0, visited_ = 0;  // the rows that are visited
  const bool keeps_;                        // the scores of a sweep for the next one
  int64_t band_ = 0;                        // rows of a tile
  std::vector<std::vector<Part>> parts_;    // the tiles of a band, of each block
  bool kept_ = false;                       // such scores are there
  bool transformed_ = false;
  std::shared_ptr<const FusedSums> fused_;  // of kernels, from the first sweep for the second
};

class Pairing {
 public:
  int64_t rows() const { return similarity_.rows(rowTower_); }
  int64_t columns() const { return columns_; }
  // The number of the first column of the pairing's k-th column tower.
  int64_t firstColumn(int64_t k) const { return firsts_[k]; }

  // Of the rows of this process alone, where the loss is shared.
  void eachStrip(const std::function<void(Strip&)>& visit);
  // The same with strips of so few rows that each keeps its scores, for a loss that holds numbers of all
  // pairs of a strip. Of tiles alone.
  void eachKeptStrip(const std::function<void(Strip&)>& visit);
  // Of all rows. Where the loss is shared, those of this process are visited.
  Strip whole();

  // The scores of a tile's rows and columns in this pairing, where the tile is one of another pairing of as
  // many rows and columns: another similarity of the same pairs.
  at::Tensor scoresAt(const Tile& tile) const;

 private:
  friend class AllPairs;
  friend class Levels;
  friend class NestedLevels;
  friend class Rectangles;
  friend class Similarity;
  friend class Singles;
  friend class Strip;
  Pairing(Similarity& similarity, int64_t rows, std::vector<int64_t> columns);
  // The rows that this process visits.
  Share::Part visited() const;
  // How many rows a strip may have that keeps its scores.
  int64_t keptRows() const;
  void eachStrip(int64_t height, bool keeps, const std::function<void(Strip&)>& visit);

  Similarity& similarity_;
  const int64_t rowTower_;
  const std::vector<int64_t> columnTowers_;
  std::vector<int64_t> firsts_;
  int64_t columns_ = 0;
  at::Tensor memory_;  // of scores
};

}  // namespace gradcache
