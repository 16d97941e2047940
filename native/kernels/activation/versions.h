// What activation.cc chooses from.
#pragma once

#include "cuda/kernels.h"
#include "kernels/activation/activation.h"

namespace gradcache::kernels {

namespace cpu {
decltype(kernels::activation) activation;
decltype(kernels::activationBackward) activationBackward;
}  // namespace cpu
namespace cuda {
GradcacheActivation kindOf(Activation kind);
decltype(kernels::activation) activation;
decltype(kernels::activationBackward) activationBackward;
}  // namespace cuda
namespace composite {
// f(z), and dL/dz.
at::Tensor activated(const at::Tensor& z, Activation kind);
at::Tensor activatedBackward(const at::Tensor& dy, const at::Tensor& z, Activation kind);
decltype(kernels::activation) activation;
decltype(kernels::activationBackward) activationBackward;
}  // namespace composite

}  // namespace gradcache::kernels
