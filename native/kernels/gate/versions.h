// What gate.cc chooses from.
#pragma once

#include "kernels/gate/gate.h"

namespace gradcache::kernels {

namespace cpu {
decltype(kernels::gated) gated;
decltype(kernels::gatedBackward) gatedBackward;
}  // namespace cpu
namespace cuda {
bool takesGates(const at::Tensor& x);
decltype(kernels::gated) gated;
decltype(kernels::gatedBackward) gatedBackward;
}  // namespace cuda
namespace composite {
decltype(kernels::gated) gated;
decltype(kernels::gatedBackward) gatedBackward;
}  // namespace composite

}  // namespace gradcache::kernels
