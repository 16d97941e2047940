#include <algorithm>
#include <utility>

#include "losses/tower.h"

namespace gradcache {

namespace {

// Rows whose normalisation is undone at once.
constexpr int64_t kSlice = 512;

// Most bytes of a tower's rows that are kept at length 1. Others are brought to it each time that they are
// needed.
int64_t mostUnitBytes(const at::Tensor& rows) { return (rows.is_cpu() ? int64_t{64} : int64_t{256}) << 20; }

class DenseTower final : public Tower {
 public:
  DenseTower(const at::Tensor& representations, bool cosine) : rows_(representations.contiguous()) {
    if (!cosine) return;
    inverse_ =
        at::linalg_vector_norm(rows_, 2, at::IntArrayRef{1}, true).clamp_min_(kLeastLength).reciprocal_();
    if (static_cast<int64_t>(rows_.nbytes()) <= mostUnitBytes(rows_)) unit_ = rows_.mul(inverse_);
  }

  int64_t rows() const override { return rows_.size(0); }

  double greatestLength() const override {
    if (inverse_.defined()) return 1;
    return at::linalg_vector_norm(rows_, 2, at::IntArrayRef{1}).max().item<double>();
  }

  at::Tensor compared(int64_t begin, int64_t count) const override {
    if (unit_.defined()) return unit_.narrow(0, begin, count);
    at::Tensor part = rows_.narrow(0, begin, count);
    return inverse_.defined() ? part.mul(inverse_.narrow(0, begin, count)) : part;
  }

  void addProduct(int64_t begin, const at::Tensor& a, const at::Tensor& b) override {
    gradient(begin, a.size(0)).addmm_(a, b);
  }

  void add(int64_t begin, const at::Tensor& part, double factor) override {
    gradient(begin, part.size(0)).add_(part, factor);
  }

  at::Tensor takeGradient(double weight) override {
    for (int64_t begin = 0; begin < rows(); begin += kSlice) {
      const int64_t count = std::min(kSlice, rows() - begin);
      at::Tensor part = gradient(begin, count);
      if (inverse_.defined()) {
        at::Tensor direction = compared(begin, count);
        part.sub_(direction.mul(direction.mul(part).sum({1}, true))).mul_(inverse_.narrow(0, begin, count));
      }
      if (weight != 1) part.mul_(weight);
    }
    return std::move(gradient_);
  }

 private:
  at::Tensor gradient(int64_t begin, int64_t count) {
    if (!gradient_.defined()) gradient_ = at::zeros_like(rows_);
    return gradient_.narrow(0, begin, count);
  }

  at::Tensor rows_;
  at::Tensor gradient_;  // undefined until it is first added to
  at::Tensor inverse_;   // [n, 1]: 1 / length, or undefined for the dot product
  at::Tensor unit_;      // rows of length 1, where they are few enough to be kept
};

}  // namespace

std::unique_ptr<Tower> denseTower(const at::Tensor& representations, bool cosine) {
  return std::make_unique<DenseTower>(representations, cosine);
}

}  // namespace gradcache
