// Matrix products of several element types.
#pragma once

#include <ATen/ATen.h>

namespace gradcache {

// gradient += scale * a^T b, in the gradient's own type.
void addProduct(const at::Tensor& gradient, const at::Tensor& a, const at::Tensor& b, double scale = 1);

// x w^T in float32 (float64 for float64): narrower products are added up in it.
at::Tensor wideProduct(const at::Tensor& x, const at::Tensor& w);

}  // namespace gradcache
