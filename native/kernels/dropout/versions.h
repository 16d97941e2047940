// What dropout.cc chooses from.
#pragma once

#include "kernels/dropout/dropout.h"

namespace gradcache::kernels {

namespace cpu {
decltype(kernels::dropout) dropout;
}
namespace cuda {
bool takesDropout(const at::Tensor& x);  // of any width
decltype(kernels::dropoutOfRows) dropoutOfRows;
}  // namespace cuda
namespace composite {
decltype(kernels::dropoutOfRows) dropoutOfRows;
}

}  // namespace gradcache::kernels
