// A tower of which a process holds some rows, while others come by in blocks (ring.h). Rows are numbered
// through those of all processes. One that is not here cannot be asked for.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <utility>

#include "losses/dense_tower.h"
#include "losses/share.h"
#include "losses/tower.h"

namespace gradcache {

class RingTower final : public Tower {
 public:
  // `representations` are the rows `held`, of `rows` that all processes have together.
  RingTower(const at::Tensor& representations, bool cosine, const Share::Part& held, int64_t rows);

  // Some rows of another process, in place of those before. Their gradient is added to `gradient`; undefined:
  // they have none.
  void receive(const Share::Part& held, const at::Tensor& representations, const at::Tensor& gradient);
  void leave() { guest_.reset(); }
  // The rows that this process holds, as they were given, and what is added to their gradient besides.
  const at::Tensor& own() const { return representations_; }
  void addOwn(const at::Tensor& gradient) { own_.add(0, gradient, 1); }

  int64_t rows() const override { return rows_; }
  bool isDense() const override { return true; }
  DenseRows dense(int64_t begin, int64_t count) override;
  // Of the rows of all processes, as setLengths() was told.
  std::pair<double, double> lengths() const override { return lengths_; }
  std::pair<double, double> ownLengths() const { return own_.lengths(); }
  void setLengths(const std::pair<double, double>& lengths) { lengths_ = lengths; }
  at::Tensor compared(int64_t begin, int64_t count) const override;
  void addProduct(int64_t begin, const at::Tensor& a, const at::Tensor& b) override;
  void add(int64_t begin, const at::Tensor& part, double factor) override;
  // Of the rows that this process holds.
  at::Tensor takeGradient(double weight) override { return own_.takeGradient(weight); }

 private:
  const at::Tensor representations_;
  const bool cosine_;
  const int64_t rows_;
  const Share::Part held_;
  std::pair<double, double> lengths_{1, 1};
  DenseTower own_;
  Share::Part guestHeld_;
  std::optional<DenseTower> guest_;
};

}  // namespace gradcache
