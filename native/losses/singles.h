// Pairs of a strip whose scores and gradients are computed one by one, in float32 with sums in float64,
// beside sweeps in rectangles that leave them out. Those of rows that the strip does not visit are not there.
// So are the positives of a softmax: where one dominates, what is left of its gradient is a small 1 - p,
// which half precision would lose.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <vector>

#include "losses/chosen.h"
#include "losses/dense_tower.h"
#include "losses/similarity.h"

namespace gradcache {

class Singles {
 public:
  explicit Singles(Strip& strip);
  // Adds the pairs that are chosen and are not there yet, a list for each column of `pairs`.
  void add(const Chosen& pairs);

  // How many lists there are, of one pair at most of each row.
  int64_t count() const { return static_cast<int64_t>(lists_.size()); }
  // The column of each row, int64 [rows of the strip, count]; -1 for none.
  at::Tensor columns() const;
  // The lists that are on no diagonal; and the one that is, of which there is one at most.
  std::vector<at::Tensor> lists() const;
  std::optional<int64_t> diagonal() const;
  at::Tensor diagonalList() const;

  // The scale times the dot products, float64 [rows, count]; 0 for none.
  at::Tensor scores() const;
  // Adds what follows from dL/dscore, float64 [rows, count], to the towers' gradients and the slope of the
  // scale. `scores` are those above.
  void addGradient(const at::Tensor& slopes, const at::Tensor& scores);

 private:
  struct List {
    at::Tensor columns;               // int64 [rows]
    std::optional<int64_t> diagonal;  // row i has the column that is so much further, and no other
  };
  // Rows of a tower: some that follow one another, or those of these numbers.
  struct Some {
    int64_t begin = 0, count = 0;  // with `places` the rows that are in the same place, among which they are
    at::Tensor places;
  };
  using Visit = std::function<void(size_t list, size_t k, const Some& rows, const Some& columns)>;
  // `adds` says whether gradients of columns are added to.
  void each(bool adds, const Visit& visit) const;
  // Those of one list whose columns are in a block.
  void eachIn(int64_t block, size_t number, const Visit& visit) const;
  // In a ring: whether each process holds all columns of its pairs, on all processes alike.
  bool areAtHome() const;

  // The rows of a block of a tower, and the numbers of some among them.
  static at::Tensor compared(Tower& tower, const Some& some);
  static at::Tensor comparedWide(Tower& tower, const Some& some);
  // Those of numbers of the strip's rows.
  at::Tensor inStrip(const at::Tensor& numbers, const Some& rows) const;

  Strip& strip_;
  Pairing& pairing_;
  Similarity& similarity_;
  std::vector<List> lists_;
};

}  // namespace gradcache
