// In which type the gradient of a tensor may be.
#pragma once

#include <c10/core/ScalarType.h>

namespace gradcache {

// Its own, or float32 for bfloat16: sums of gradients need more digits than weights.
inline bool isGradientType(c10::ScalarType gradient, c10::ScalarType tensor) {
  return gradient == tensor || (tensor == c10::kBFloat16 && gradient == c10::kFloat);
}

}  // namespace gradcache
