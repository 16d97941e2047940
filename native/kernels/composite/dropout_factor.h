#pragma once

#include <ATen/ATen.h>

#include "core/dropout_key.h"

namespace gradcache::kernels::composite {

// 0 or the key's scale, for every pair of `rows` and `columns` (int64, broadcast against each other), in
// `type`.
at::Tensor dropoutFactor(const at::Tensor& rows, const at::Tensor& columns, const DropoutKey& key,
                         at::ScalarType type);

}  // namespace gradcache::kernels::composite
