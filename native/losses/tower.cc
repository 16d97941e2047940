#include "losses/tower.h"

#include <algorithm>
#include <utility>

namespace gradcache {

namespace {

// Rows whose normalisation is undone at once.
constexpr int64_t kSlice = 512;

// Most bytes of a tower's rows that are kept at length 1. Others are brought to it each time that they are
// needed.
int64_t mostUnitBytes(const at::Tensor& rows) { return (rows.is_cpu() ? int64_t{64} : int64_t{256}) << 20; }

}  // namespace

Tower::Tower(const at::Tensor& representations, bool cosine) : rows_(representations.contiguous()) {
  if (!cosine) return;
  inverse_ = at::linalg_vector_norm(rows_, 2, at::IntArrayRef{1}, true).clamp_min_(1e-12).reciprocal_();
  if (static_cast<int64_t>(rows_.nbytes()) <= mostUnitBytes(rows_)) unit_ = rows_.mul(inverse_);
}

double Tower::greatestLength() const {
  if (inverse_.defined()) return 1;
  return at::linalg_vector_norm(rows_, 2, at::IntArrayRef{1}).max().item<double>();
}

at::Tensor Tower::compared(int64_t begin, int64_t count) const {
  if (unit_.defined()) return unit_.narrow(0, begin, count);
  at::Tensor part = rows_.narrow(0, begin, count);
  return inverse_.defined() ? part.mul(inverse_.narrow(0, begin, count)) : part;
}

at::Tensor Tower::gradient(int64_t begin, int64_t count) {
  if (!gradient_.defined()) gradient_ = at::zeros_like(rows_);
  return gradient_.narrow(0, begin, count);
}

at::Tensor Tower::takeGradient(double weight) {
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

}  // namespace gradcache
