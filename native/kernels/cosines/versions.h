// What cosines.cc chooses from.
#pragma once

#include "kernels/cosines/cosines.h"

namespace gradcache::kernels {

namespace cpu {
decltype(kernels::cosines) cosines;
decltype(kernels::addDotGradient) addDotGradient;
}  // namespace cpu
namespace composite {
decltype(kernels::cosines) cosines;
decltype(kernels::addDotGradient) addDotGradient;
}  // namespace composite

}  // namespace gradcache::kernels
