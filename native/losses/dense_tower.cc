#include "losses/dense_tower.h"

#include <algorithm>
#include <utility>

namespace gradcache {

namespace {

// Rows whose normalisation is undone at once. A GPU has more to do than to start operators.
int64_t sliceOf(const at::Tensor& rows) { return rows.is_cpu() ? 512 : 8192; }

// Most bytes of a tower's rows that are kept at length 1. Others are brought to it each time that they are
// needed.
int64_t mostUnitBytes(const at::Tensor& rows) { return (rows.is_cpu() ? int64_t{64} : int64_t{256}) << 20; }

}  // namespace

DenseTower::DenseTower(const at::Tensor& representations, bool cosine)
    : rows_(representations.stride(1) == 1 ? representations : representations.contiguous()) {
  if (!cosine) return;
  inverse_ =
      at::linalg_vector_norm(rows_, 2, at::IntArrayRef{1}, true).clamp_min_(kLeastLength).reciprocal_();
}

std::pair<double, double> DenseTower::lengths() const {
  if (inverse_.defined()) return {1, 1};
  const auto [least, greatest] = at::aminmax(at::linalg_vector_norm(rows_, 2, at::IntArrayRef{1}));
  return {least.item<double>(), greatest.item<double>()};
}

at::Tensor DenseTower::compared(int64_t begin, int64_t count) const {
  if (!inverse_.defined()) return rows_.narrow(0, begin, count);
  if (!unit_.defined() && static_cast<int64_t>(rows_.nbytes()) <= mostUnitBytes(rows_))
    unit_ = rows_.mul(inverse_);
  if (unit_.defined()) return unit_.narrow(0, begin, count);
  return rows_.narrow(0, begin, count).mul(inverse_.narrow(0, begin, count));
}

at::Tensor DenseTower::comparedAt(const at::Tensor& places) const {
  if (unit_.defined()) return unit_.index_select(0, places);
  at::Tensor part = rows_.index_select(0, places);
  return inverse_.defined() ? part.mul_(inverse_.index_select(0, places)) : part;
}

void DenseTower::writeCompared(int64_t begin, at::Tensor to) const {
  const int64_t count = to.size(0);
  if (inverse_.defined()) {
    at::mul_out(to, rows_.narrow(0, begin, count), inverse_.narrow(0, begin, count));
  } else {
    to.copy_(rows_.narrow(0, begin, count));
  }
}

void DenseTower::addProduct(int64_t begin, const at::Tensor& a, const at::Tensor& b) {
  gradient(begin, a.size(0)).addmm_(a, b);
}

void DenseTower::add(int64_t begin, const at::Tensor& part, double factor) {
  gradient(begin, part.size(0)).add_(part, factor);
}

at::Tensor DenseTower::gradient(int64_t begin, int64_t count) {
  if (!gradient_.defined()) gradient_ = at::zeros_like(rows_);
  return gradient_.narrow(0, begin, count);
}

void DenseTower::addAt(const at::Tensor& places, const at::Tensor& values, bool distinct) {
  at::Tensor all = gradient(0, rows());
  if (distinct) {
    all.index_copy_(0, places, all.index_select(0, places).add_(values));
  } else {
    all.index_put_({places}, values, true);
  }
}

at::Tensor DenseTower::takeGradient(double weight) {
  const int64_t slice = sliceOf(rows_);
  for (int64_t begin = 0; begin < rows(); begin += slice) {
    const int64_t count = std::min(slice, rows() - begin);
    at::Tensor part = gradient(begin, count);
    if (inverse_.defined()) {
      at::Tensor direction = compared(begin, count);
      part.sub_(direction.mul(direction.mul(part).sum({1}, true))).mul_(inverse_.narrow(0, begin, count));
    }
    if (weight != 1) part.mul_(weight);
  }
  return std::move(gradient_);
}

std::unique_ptr<Tower> denseTower(const at::Tensor& representations, bool cosine) {
  return std::make_unique<DenseTower>(representations, cosine);
}

}  // namespace gradcache
