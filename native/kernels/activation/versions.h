// What activation.cc chooses from.
#pragma once

#include "kernels/activation/activation.h"

namespace gradcache::kernels {

namespace cpu {
decltype(kernels::activation) activation;
decltype(kernels::activationBackward) activationBackward;
}  // namespace cpu
namespace cuda {
decltype(kernels::activation) activation;
decltype(kernels::activationBackward) activationBackward;
}  // namespace cuda
namespace composite {
decltype(kernels::activation) activation;
decltype(kernels::activationBackward) activationBackward;
}  // namespace composite

}  // namespace gradcache::kernels
