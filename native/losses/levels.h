// A loss at several lengths of the representations (Kusupati et al. 2022), for little more than its cost at
// the greatest: dot products are built up from one length to the next, and their gradients are added up
// before they are multiplied with the representations.
//
// Each length has a Similarity of the beginnings of all rows, and a loss of its own. Where one of these comes
// to a sweep, it meets the others, which come to the same sweep, and the tiles are visited for all of them.
// So are the rectangles of kernels, of softmaxes on GPUs that take them (nested_levels.h); other sweeps of
// kernels go over them for each length alone, and add to that Similarity's gradients.
#pragma once

#include <ATen/ATen.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "losses/meetings.h"
#include "losses/nested_levels.h"
#include "losses/similarity.h"
#include "losses/tiled_loss.h"

namespace gradcache {

// A length of representations, and what the loss at it is multiplied by.
struct Length {
  int64_t dimension = 0;
  double weight = 1;
};

class Levels final : public JointSweeps {
 public:
  // Rows are compared by the cosine at each length, whatever `measure` says. `trained` and `share` are those
  // of Similarity. Throws INPUT, SHAPE, DTYPE or DEVICE.
  Levels(const std::vector<at::Tensor>& representations, const Measure& measure,
         const std::vector<bool>& trained, std::vector<Length> lengths, const Share* share = nullptr);

  // The weighted sum of the losses, each made anew by `make`. `weight` multiplies gradients and slopes.
  LossResult compute(const std::function<std::unique_ptr<TiledLoss>()>& make, double weight);

  int64_t count() const override { return static_cast<int64_t>(levels_.size()); }
  // A sweep at one length, together with those of the others.
  void sweep(int64_t level, Strip& strip, const std::function<void(const Tile&)>& visit) override;
  void gradients(int64_t level, Strip& strip, const std::function<at::Tensor(const Tile&)>& visit) override;
  bool takes(const Rectangles& rectangles) const override;
  JointSums sums(int64_t level, const Rectangles& rectangles, bool ofColumns) override;
  bool addGradient(int64_t level, const Rectangles& rectangles, const JointGradient& gradient) override;

 private:
  // What one length has come to a meeting for.
  struct Wish {
    Strip* strip = nullptr;
    const std::function<void(const Tile&)>* sweep = nullptr;
    const std::function<at::Tensor(const Tile&)>* gradients = nullptr;
    // Of kernels: the rectangles, and what is wanted of them, one of two.
    const Rectangles* rectangles = nullptr;
    bool ofColumns = false;
    const JointGradient* gradient = nullptr;
    JointSums sums;  // what the meeting has found
    bool added = false;
  };
  struct Level {
    Length length;
    int64_t begin = 0;  // of the numbers that the level before has not
    Similarity similarity;
    Wish wish;
    std::vector<at::Tensor> inverses;  // for each tower, 1 / length of the beginnings, [rows]
    // For each tower, sum over the other side of dL/d(dot product) times the dot product, [rows]: what the
    // lengths of rows lose.
    std::vector<at::Tensor> turns;

    Level(const Length& of, int64_t from, const std::vector<at::Tensor>& beginnings, const Measure& measure,
          const std::vector<bool>& trained, const Share* share)
        : length(of), begin(from), similarity(beginnings, measure, trained, share) {}
  };

  // Some rows of a tower.
  struct Side {
    int64_t tower = 0, begin = 0, count = 0;
  };
  at::Tensor of(const Side& side) const;

  // Of precision 'fast': sets `nested_` where kernels build these lengths up, on all ranks.
  void nest();
  // What all lengths have come for: rectangles, or every tile of a sweep.
  void together();
  void rectanglesTogether();
  void tilesTogether();
  // Visits a tile at every length, and adds the gradients: those of its columns to `gradients_`, those of its
  // rows to `ofRows`.
  void visit(int64_t row, const Strip::Part& part, at::Tensor& ofRows);
  // The dot products of a tile at each length, unless the strips have kept them.
  std::vector<at::Tensor> multiply(int64_t row, const Strip::Part& part, const at::Tensor& rows,
                                   const at::Tensor& columns);
  // Memory for a tile, which the next one takes over: of the dot products at each length, then of two more.
  at::Tensor memory(size_t place, int64_t rows, int64_t columns);
  bool trains(int64_t tower) const { return levels_[0].similarity.trains(tower); }
  bool isFast() const { return levels_[0].similarity.measure().fast; }
  // Of kernels: adds what a loss that has ended has in its own Similarity.
  void addOwnGradients(Level& level, double weight);
  at::Tensor takeGradient(int64_t tower, double weight);
  at::Tensor takeGradientOfTiles(int64_t tower, double weight);

  std::vector<at::Tensor> representations_, gradients_;
  std::deque<Level> levels_;  // shortest first
  at::Tensor scaleSlope_;
  std::vector<at::Tensor> memory_;
  std::optional<NestedLevels> nested_;  // of kernels
  Meetings meetings_;
};

}  // namespace gradcache
