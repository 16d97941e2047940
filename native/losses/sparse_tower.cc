#include <algorithm>
#include <utility>
#include <vector>

#include "losses/tower.h"

namespace gradcache {

namespace {

// Bytes of rows that are dense at once.
int64_t denseBytes(const at::Tensor& values) { return (values.is_cpu() ? int64_t{64} : int64_t{512}) << 20; }

class SparseTower final : public Tower {
 public:
  SparseTower(const at::Tensor& representations, bool cosine)
      : rows_(representations.size(0)),
        width_(representations.size(1)),
        values_(representations._values().contiguous()),
        columns_(representations._indices().select(0, 1).contiguous()),
        row_(representations._indices().select(0, 0).contiguous()),
        counts_(at::bincount(row_, {}, rows_)) {
    const at::Tensor counts = counts_.cpu();
    for (int64_t row = 0; row < rows_; ++row)
      begins_.push_back(begins_.back() + counts.const_data_ptr<int64_t>()[row]);
    gradient_ = at::zeros_like(values_);
    if (cosine) inverse_ = sums(values_.mul(values_)).sqrt_().clamp_min_(kLeastLength).reciprocal_();
  }

  int64_t rows() const override { return rows_; }
  std::pair<double, double> lengths() const override {
    if (inverse_.defined()) return {1, 1};
    const auto [least, greatest] = at::aminmax(sums(values_.mul(values_)).sqrt());
    return {least.item<double>(), greatest.item<double>()};
  }

  int64_t mostRows() const override {
    const int64_t most = denseBytes(values_) / (width_ * static_cast<int64_t>(values_.element_size()));
    return std::max<int64_t>(most, 1);
  }

  at::Tensor compared(int64_t begin, int64_t count) const override {
    const Range range = rangeOf(begin, count);
    at::Tensor values = values_.narrow(0, range.first, range.count);
    if (inverse_.defined())
      values = values.mul(inverse_.index_select(0, row_.narrow(0, range.first, range.count)));
    return at::zeros({count * width_}, values_.options())
        .index_copy_(0, places(begin, range), values)
        .view({count, width_});
  }

  void addProduct(int64_t begin, const at::Tensor& a, const at::Tensor& b) override {
    add(begin, at::mm(a, b), 1);
  }

  void add(int64_t begin, const at::Tensor& part, double factor) override {
    const Range range = rangeOf(begin, part.size(0));
    gradient_.narrow(0, range.first, range.count)
        .add_(part.contiguous().view({-1}).index_select(0, places(begin, range)), factor);
  }

  at::Tensor takeGradient(double weight) override {
    if (inverse_.defined()) {
      const at::Tensor inverse = inverse_.index_select(0, row_);
      const at::Tensor direction = values_.mul(inverse);
      const at::Tensor along = sums(direction.mul(gradient_)).index_select(0, row_);
      gradient_.sub_(direction.mul(along)).mul_(inverse);
    }
    if (weight != 1) gradient_.mul_(weight);
    return std::move(gradient_);
  }

 private:
  // Some entries.
  struct Range {
    int64_t first, count;
  };
  Range rangeOf(int64_t begin, int64_t count) const {
    return {begins_[begin], begins_[begin + count] - begins_[begin]};
  }
  // Where entries stand among the numbers of dense rows from `begin` on.
  at::Tensor places(int64_t begin, const Range& range) const {
    return row_.narrow(0, range.first, range.count)
        .sub(begin)
        .mul_(width_)
        .add_(columns_.narrow(0, range.first, range.count));
  }
  // Of numbers of the entries by row, in a fixed order.
  at::Tensor sums(const at::Tensor& entries) const {
    return at::segment_reduce(entries, "sum", counts_, {}, {}, /*axis=*/0, /*unsafe=*/true);
  }

  const int64_t rows_, width_;
  at::Tensor values_, columns_, row_;  // [entries]
  at::Tensor counts_;                  // [n]: entries of a row
  std::vector<int64_t> begins_{0};     // [n + 1]: where they begin
  at::Tensor gradient_;                // [entries]
  at::Tensor inverse_;                 // [n]: 1 / length, or undefined for the dot product
};

}  // namespace

std::unique_ptr<Tower> sparseTower(const at::Tensor& representations, bool cosine) {
  return std::make_unique<SparseTower>(representations, cosine);
}

}  // namespace gradcache
