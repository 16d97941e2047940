// The similarities of anchors with candidates, in tiles of anchors: the N x M scores never exist at once.
// Their gradients become gradients of the representations without an autograd graph.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

namespace gradcache {

// Scores of some anchors with all candidates.
struct Tile {
  int64_t begin = 0;   // number of the first anchor
  at::Tensor anchors;  // [rows, d], as they are compared: of length 1 for the cosine
  at::Tensor scores;   // [rows, candidates], in memory that the next tile takes over
};

class Similarity {
 public:
  struct Measure {
    bool cosine = true;  // else the dot product
    double scale = 1;    // what similarities are multiplied by
    // True: the first block of candidates is the anchors themselves, and no row is compared with itself.
    bool withoutSelf = false;
  };

  // `representations` are anchors [N, d] and one or more blocks of candidates [M_k, d], float32 or float64.
  // Candidates are numbered through all blocks. Throws SHAPE, DTYPE or DEVICE.
  Similarity(const std::vector<at::Tensor>& representations, const Measure& measure);

  int64_t anchors() const { return anchors_.rows.size(0); }
  int64_t candidates() const { return columns_; }
  // Candidates of the first block: the anchors' positives.
  int64_t positives() const { return candidates_[0].rows.size(0); }
  // Element type and device of the scores.
  at::TensorOptions numbers() const { return anchors_.rows.options(); }

  // Calls `visit` with every tile once, in the order of the anchors.
  void eachTile(const std::function<void(const Tile&)>& visit);

  // log sum exp of each candidate's scores over all anchors, [candidates]. Takes a separate sweep.
  at::Tensor columnNormalizer();

  // Adds `weight` times the representations' gradient from `gradient`, dL/dscores of a tile [rows,
  // candidates], which is overwritten.
  void addGradient(const Tile& tile, const at::Tensor& gradient, double weight);
  // The gradients of the representations, after all tiles are added; shaped like `representations`.
  std::vector<at::Tensor> takeGradients();

 private:
  // One tower's rows, and their norms for the cosine.
  struct Tower {
    at::Tensor rows;
    at::Tensor inverse;  // [n, 1]: 1 / length, or undefined for the dot product

    Tower(const at::Tensor& tensor, bool cosine);
    at::Tensor compared(int64_t begin, int64_t count) const;
    // Turns the gradient of normalised rows into that of the rows, in place, a slice at a time.
    void throughNormalization(const at::Tensor& gradient, int64_t begin, int64_t slice) const;
  };

  at::Tensor scores(const at::Tensor& anchors, int64_t begin);

  const double scale_;
  const bool withoutSelf_;
  Tower anchors_;
  std::vector<Tower> candidates_;
  std::vector<int64_t> begins_;
  int64_t columns_ = 0, tile_ = 0;
  at::Tensor buffer_;
  std::vector<at::Tensor> gradients_;
};

}  // namespace gradcache
