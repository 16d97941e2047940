// What nested_scores.cc chooses from.
#pragma once

#include "kernels/nested_scores/nested_scores.h"

namespace gradcache::kernels {

namespace cuda {
bool takesNestedLengths(const std::vector<int64_t>& lengths);
double nestedReference(double bound);
decltype(kernels::addNestedSums) addNestedSums;
decltype(kernels::nestedTiles) nestedTiles;
}  // namespace cuda
namespace composite {
decltype(kernels::addNestedSums) addNestedSums;
decltype(kernels::nestedTiles) nestedTiles;
}  // namespace composite

}  // namespace gradcache::kernels
