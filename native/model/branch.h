// What a layer adds to its residual. A norm that follows adds it in one sweep with its own work.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <optional>

#include "core/dropout_key.h"
#include "kernels/norm/norm.h"

namespace gradcache {

// dropout(norm(rows + bias)), where bias, norm and dropout may be missing.
struct Branch {
  at::Tensor rows;  // [T, width]
  at::Tensor bias;  // [width] or undefined
  std::optional<kernels::NormWeights> norm;
  DropoutKey dropout;
  std::shared_ptr<kernels::Norm> normed{};  // gets what that norm keeps for its backward; null: nothing

  // norm(residual + this), whose `sum` is always there, with room behind its y.
  kernels::Norm addedAndNormed(const at::Tensor& residual, const kernels::NormWeights& next, bool save,
                               int64_t room = 0) const;
  // residual + this. May write over the branch's rows.
  at::Tensor addedTo(const at::Tensor& residual) const;
};

}  // namespace gradcache
