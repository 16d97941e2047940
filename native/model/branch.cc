#include "model/branch.h"

#include <utility>

#include "kernels/dropout/dropout.h"

namespace gradcache {

kernels::Norm Branch::addedAndNormed(const at::Tensor& residual, const kernels::NormWeights& next, bool save,
                                     int64_t room) const {
  if (!norm) return kernels::norm(rows, bias, residual, next, dropout, /*save=*/true, room);
  kernels::SandwichNorm both = kernels::sandwichNorm(rows, bias, residual, *norm, next, dropout, save, room);
  if (normed) *normed = std::move(both.inner);
  return std::move(both.outer);
}

at::Tensor Branch::addedTo(const at::Tensor& residual) const {
  at::Tensor added = rows;
  if (norm) {
    kernels::Norm behind = kernels::norm(rows, bias, {}, *norm, {}, normed != nullptr);
    added = std::exchange(behind.y, {});
    if (normed) *normed = std::move(behind);
  } else if (bias.defined()) {
    added.add_(bias);
  }
  return kernels::dropout(added, dropout).add_(residual);
}

}  // namespace gradcache
