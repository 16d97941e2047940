// What heads.cc chooses from.
#pragma once

#include "kernels/heads/heads.h"

namespace gradcache::kernels {

namespace cpu {
decltype(kernels::preparedHeads) preparedHeads;
decltype(kernels::preparedHeadsBackward) preparedHeadsBackward;
}  // namespace cpu
namespace cuda {
bool takesHeads(const at::Tensor& rows, const HeadLayout& layout, const Rotation& rotation);
decltype(kernels::preparedHeads) preparedHeads;
decltype(kernels::preparedHeadsBackward) preparedHeadsBackward;
}  // namespace cuda
namespace composite {
decltype(kernels::preparedHeads) preparedHeads;
decltype(kernels::preparedHeadsBackward) preparedHeadsBackward;
}  // namespace composite

}  // namespace gradcache::kernels
