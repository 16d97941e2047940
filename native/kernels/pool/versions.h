// What pool.cc chooses from.
#pragma once

#include "kernels/pool/pool.h"

namespace gradcache::kernels {

namespace cpu {
decltype(kernels::pool) pool;
at::Tensor poolBackward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences,
                        Pooling pooling);
}  // namespace cpu
namespace cuda {
// Whether the version takes rows [T, H] of `type`; `tensor` is such rows, or pooled from them.
bool takesPooling(const at::Tensor& tensor, at::ScalarType type);
decltype(kernels::pool) pool;
decltype(kernels::poolBackward) poolBackward;
}  // namespace cuda
namespace composite {
decltype(kernels::pool) pool;
decltype(kernels::poolBackward) poolBackward;
}  // namespace composite

}  // namespace gradcache::kernels
