// Some columns of each row of a pairing: its positives, say, or those that it is not compared with.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "losses/similarity.h"

namespace gradcache {

class Chosen {
 public:
  // None.
  Chosen() = default;
  // int64 [rows, k]: numbers of columns, all different in a row; -1 where a row has fewer than k.
  explicit Chosen(at::Tensor columns) : columns_(std::move(columns)) {}
  // Row i has the columns lists[i].
  Chosen(const std::vector<std::vector<int64_t>>& lists, const at::TensorOptions& numbers);
  // Row i has the column `first` + i.
  static Chosen diagonal(int64_t rows, int64_t first, const at::TensorOptions& numbers);

  // The column of row 0, where row i has the column that is i further and no other.
  const std::optional<int64_t>& diagonal() const { return diagonal_; }

  bool any() const { return columns_.defined(); }
  const at::Tensor& columns() const { return columns_; }

  // The chosen ones among the numbers of a tile [rows, columns]: [rows, k], 0 for those that are not in the
  // tile.
  at::Tensor of(const Tile& tile, const at::Tensor& numbers) const;
  // Adds [rows, k], or one number for all, to the chosen ones of a tile.
  void add(const Tile& tile, const at::Tensor& numbers, const at::Tensor& values) const;
  void add(const Tile& tile, const at::Tensor& numbers, double value) const;

 private:
  struct Places {
    at::Tensor at;      // int64 [rows, k]: columns of the tile; any for one that is not in it
    at::Tensor inside;  // bool [rows, k]: whether it is in the tile
  };
  Places placesIn(const Tile& tile) const;

  at::Tensor columns_;
  std::optional<int64_t> diagonal_;
};

// What is added to the score of a pair to leave it out: its exponential is 0, and unlike minus infinity it
// can be multiplied by 0.
constexpr double kLeftOut = -1e30;

}  // namespace gradcache
