// What norm.cc chooses from.
#pragma once

#include "kernels/norm/norm.h"

namespace gradcache::kernels {

namespace cpu {
decltype(kernels::norm) norm;
decltype(kernels::normBackward) normBackward;
}  // namespace cpu
namespace cuda {
bool takesNorms(const at::Tensor& rows);
// An empty result [tokens, width], with room behind y; sum and statistics are defined only with `save`.
Norm emptyNorm(int64_t tokens, int64_t width, const at::TensorOptions& options, bool save, int64_t room = 0);
decltype(kernels::norm) norm;
decltype(kernels::normBackward) normBackward;
decltype(kernels::sandwichNorm) sandwichNorm;
// Of scales alone: no shift, no bias and no dropout.
decltype(kernels::sandwichNormBackward) sandwichNormBackward;
}  // namespace cuda
namespace composite {
decltype(kernels::norm) norm;
decltype(kernels::normBackward) normBackward;
}  // namespace composite

}  // namespace gradcache::kernels
