// What rows.cc chooses from.
#pragma once

#include "kernels/rows/rows.h"

namespace gradcache::kernels {

namespace cpu {
decltype(kernels::addRows) addRows;
}
namespace cuda {
decltype(kernels::addColumnSum) addColumnSum;
decltype(kernels::addRows) addRows;
}  // namespace cuda
namespace composite {
decltype(kernels::addColumnSum) addColumnSum;
decltype(kernels::addRows) addRows;
}  // namespace composite

}  // namespace gradcache::kernels
