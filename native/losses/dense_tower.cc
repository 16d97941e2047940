#include "losses/dense_tower.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace gradcache {

namespace {

// Most bytes of a tower's rows that are kept at length 1. Others are brought to it each time that they are
// needed.
int64_t mostUnitBytes(const at::Tensor& rows) { return (rows.is_cpu() ? int64_t{64} : int64_t{256}) << 20; }

}  // namespace

DenseTower::DenseTower(const at::Tensor& representations, bool cosine, at::Tensor gradient)
    : rows_(representations.stride(1) == 1 ? representations : representations.contiguous()),
      gradient_(std::move(gradient)) {
  if (!cosine) return;
  inverse_ =
      at::linalg_vector_norm(rows_, 2, at::IntArrayRef{1}, true).clamp_min_(kLeastLength).reciprocal_();
}

std::pair<double, double> DenseTower::lengths() const {
  if (inverse_.defined()) return {1, 1};
  if (rows() == 0) return {INFINITY, 0};
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

at::Tensor DenseTower::wide(const at::Tensor& rows) const {
  at::Tensor wide = rows.to(at::kDouble);
  if (!inverse_.defined()) return wide;
  return wide.div(at::linalg_vector_norm(wide, 2, at::IntArrayRef{1}, true).clamp_min_(kLeastLength));
}

at::Tensor DenseTower::comparedWide(int64_t begin, int64_t count) const {
  return wide(rows_.narrow(0, begin, count));
}

at::Tensor DenseTower::comparedWideAt(const at::Tensor& places) const {
  return wide(rows_.index_select(0, places));
}

void DenseTower::writeOperand(int64_t begin, double scale, kernels::Parts parts, at::Tensor operand) const {
  const int64_t count = operand.size(0);
  kernels::writeOperand(rows_.narrow(0, begin, count),
                        inverse_.defined() ? inverse_.narrow(0, begin, count) : inverse_, scale, parts,
                        operand);
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
  at::Tensor all = gradient(0, rows());
  if (rows() == 0) return std::move(gradient_);
  if (inverse_.defined()) {
    kernels::unitGradient(rows_, inverse_, weight, all);
  } else if (weight != 1) {
    all.mul_(weight);
  }
  unit_.reset();
  return std::move(gradient_);
}

void DenseTower::backToRows(int64_t begin, at::Tensor gradient) const {
  if (!inverse_.defined()) return;
  const int64_t count = gradient.size(0);
  kernels::unitGradient(rows_.narrow(0, begin, count), inverse_.narrow(0, begin, count), 1, gradient);
}

std::unique_ptr<Tower> denseTower(const at::Tensor& representations, bool cosine) {
  return std::make_unique<DenseTower>(representations, cosine);
}

}  // namespace gradcache
