// What softmax.cc chooses from.
#pragma once

#include "kernels/softmax/softmax.h"

namespace gradcache::kernels {

namespace cuda {
bool takesSoftmax(const at::Tensor& scores);
decltype(kernels::droppedSoftmax) droppedSoftmax;
decltype(kernels::droppedSoftmaxBackward) droppedSoftmaxBackward;
}  // namespace cuda
namespace composite {
decltype(kernels::droppedSoftmax) droppedSoftmax;
decltype(kernels::droppedSoftmaxBackward) droppedSoftmaxBackward;
}  // namespace composite

}  // namespace gradcache::kernels
