// Sweeps over the scores of a strip by kernels that write no scores (kernels/scores): in large rectangles, of
// rows in half precision.
//
//   half     Rows are rounded, to float16 where their length is 1, else to bfloat16, which has their range;
//   and
//            where they are very many.
//   split    A row is the sum of two rows of float16, which have 22 bits together: three products in half
//            precision make one as of float32, in less time. The first of the two is of whole numbers, whose
//            products add up without a rounding; the small ones of the second are added up before them.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <vector>

#include "kernels/scores/scores.h"
#include "losses/dense_tower.h"
#include "losses/similarity.h"

namespace gradcache {

class Rectangles {
 public:
  struct Span {
    int64_t begin = 0, count = 0;
  };
  // Some rows of the strip with some of its columns, those of the pairing's k-th column tower.
  struct Place {
    Span rows;
    int64_t row = 0;  // number of the first among those of the strip
    size_t k = 0;
    Span columns;        // rows of that tower
    int64_t column = 0;  // number of the first in the pairing
  };

  // Scores are dot products times `scale`. The pairs (i, i + diagonal) are left out, and so are (i, lists[i])
  // for each of some lists, int64 [rows of the strip]; negative for none.
  Rectangles(Strip& strip, double scale, std::optional<int64_t> diagonal,
             const std::vector<at::Tensor>& lists);

  using Visit = std::function<void(const kernels::Scores&, const Place&)>;
  void sweep(const Visit& visit) const;
  // The same in rectangles of so many rows and columns at most. `adds` says whether gradients of columns are
  // added to.
  void each(int64_t mostRows, int64_t mostColumns, bool adds, const Visit& visit) const;

  Strip& strip() const { return strip_; }
  // Whether another similarity's rectangles are of as many pairs, and leave out the same.
  bool covers(const Rectangles& other) const;
  // No score is greater than this.
  double bound() const;
  at::ScalarType type() const { return type_; }  // of operands and tiles

  // `make` fills a tile with dL/dscores, divided by `factor`. Adds the gradients that follow to the towers,
  // and to the slope of the scale.
  using Make = std::function<void(const kernels::Scores&, const Place&, const kernels::ScoreTile&)>;
  void gradients(double factor, const Make& make);

  // Powers of two by which numbers are to be multiplied that go into a tile, so that the greatest is about
  // 2^13: float16 has no small ones. bfloat16 needs no help.
  int shiftFor(double greatest) const;

  static std::vector<Span> spans(int64_t count, int64_t most, int64_t first = 0);

 private:
  // The rows of the strip that are visited, and the columns of a tower that are here in a block.
  std::vector<Span> rowSpans(int64_t most) const;
  std::vector<Span> columnSpans(int64_t block, size_t k, int64_t most) const;
  Place placeOf(const Span& rows, size_t k, const Span& columns) const;
  DenseRows dense(int64_t tower, const Span& span) const;
  DenseRows denseRows(const Span& span) const { return dense(pairing_.rowTower_, span); }
  DenseRows denseColumns(size_t k, const Span& span) const { return dense(pairing_.columnTowers_[k], span); }
  bool takesFloat16() const;
  bool splits() const { return similarity_.products() == Products::kSplit; }

  // Rows of a tower as an operand; of a strip's rows, or of columns. Split ones have three parts beside one
  // another, so that one product adds up all three: [low, high, high] with [high, low, high].
  at::Tensor operand(const DenseRows& rows, int64_t count, bool ofRows) const;
  kernels::Scores scoresOf(const at::Tensor& rows, const at::Tensor& columns, const Place& place) const;
  // The product of a tile, or of its transpose, with an operand: [.., width] in float32, times `unit_` where
  // rows are split.
  at::Tensor product(const kernels::ScoreTile& tile, const at::Tensor& operand, bool ofRows) const;

  Strip& strip_;
  Pairing& pairing_;
  Similarity& similarity_;
  const double scale_;
  const int64_t width_, padded_;
  const at::ScalarType type_;
  double unit_ = 1;  // what rows are multiplied by in an operand
  std::optional<int64_t> diagonal_;
  at::Tensor targets_;  // int32 [lists, rows]
};

}  // namespace gradcache
