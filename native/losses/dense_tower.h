// A tower of strided representations.
#pragma once

#include "kernels/unit_rows/unit_rows.h"
#include "losses/tower.h"

namespace gradcache {

class DenseTower final : public Tower {
 public:
  // The gradient is added to `gradient`, like the representations; undefined: it begins with 0.
  DenseTower(const at::Tensor& representations, bool cosine, at::Tensor gradient = {});

  int64_t rows() const override { return rows_.size(0); }
  int64_t width() const { return rows_.size(1); }
  bool isDense() const override { return true; }
  DenseRows dense(int64_t begin, int64_t) override { return {*this, begin}; }
  std::pair<double, double> lengths() const override;
  at::Tensor compared(int64_t begin, int64_t count) const override;
  // The same of the rows `places` (int64), in a tensor of its own.
  at::Tensor comparedAt(const at::Tensor& places) const;
  // Some rows as they are compared, or the rows `places`, in float64, with no rounding before.
  at::Tensor comparedWide(int64_t begin, int64_t count) const;
  at::Tensor comparedWideAt(const at::Tensor& places) const;
  // Writes them to an operand of kernels/scores, times `scale`.
  void writeOperand(int64_t begin, double scale, kernels::Parts parts, at::Tensor operand) const;

  void addProduct(int64_t begin, const at::Tensor& a, const at::Tensor& b) override;
  void add(int64_t begin, const at::Tensor& part, double factor) override;
  // dL/d(rows as they are compared), [count, d], to be added to.
  at::Tensor gradient(int64_t begin, int64_t count);
  // Adds to that of the rows `places`; in a fixed order, where they are not `distinct`.
  void addAt(const at::Tensor& places, const at::Tensor& values, bool distinct);
  at::Tensor takeGradient(double weight) override;
  // From dL/d(some rows as they are compared) to dL/d(those rows), in place.
  void backToRows(int64_t begin, at::Tensor gradient) const;

 private:
  at::Tensor wide(const at::Tensor& rows) const;

  at::Tensor rows_;
  at::Tensor gradient_;      // undefined until it is first added to
  at::Tensor inverse_;       // [n, 1]: 1 / length, or undefined for the dot product
  mutable at::Tensor unit_;  // rows of length 1, once asked for and where they are few enough to be kept
};

}  // namespace gradcache
