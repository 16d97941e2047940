// Dropout from a counter: the key, the row number and the column decide whether an element is dropped.
#pragma once

#include <ATen/ATen.h>

#include "core/dropout_key.h"

namespace gradcache::kernels {

// x [T, H] with the elements that `key` drops set to zero and the others scaled. Its own backward.
at::Tensor dropout(const at::Tensor& x, const DropoutKey& key);
// The same of x [..., width], whose rows are those that `numbers` (int64 [...]) counts.
at::Tensor dropoutOfRows(const at::Tensor& x, const at::Tensor& numbers, const DropoutKey& key);

}  // namespace gradcache::kernels
