// What the backward of norms sums over tokens, and how it deals rows to lanes and warps for that.
#pragma once

#include "cuda/common.cuh"

namespace gradcache::cuda {

constexpr int kBackwardWarps = 4;

// What is summed over tokens, in this order: the gradients of
enum class Gradients {
  kScale,       // the scale, of a norm that has neither shift nor bias
  kScales,      // the scale and the inner scale, of a sandwich
  kParameters,  // scale, shift and (norm) bias or (embedding) the type's row
};
template <Gradients kGradients>
constexpr int kSumsOf = kGradients == Gradients::kScale    ? 1
                        : kGradients == Gradients::kScales ? 2
                                                           : 3;

// How rows of a width are laid out: vectors per lane, warps that share a row, and what registers allow.
struct BackwardLayout {
  int vectorsPerLane, warpsPerRow;
  bool one;  // sum

  static constexpr BackwardLayout of(int64_t width, bool one) {
    if (width <= 256) return {1, 1, one};
    if (width <= 512) return {2, 1, one};
    if (width <= 768) return {3, 1, one};
    if (width <= 1024) return one ? BackwardLayout{4, 1, one} : BackwardLayout{2, 2, one};
    if (width <= 1536) return {3, 2, one};
    return one ? BackwardLayout{4, 2, one} : BackwardLayout{2, 4, one};
  }
  constexpr int rowsPerBlock() const { return kBackwardWarps / warpsPerRow; }
  constexpr int blocksPerMultiprocessor() const {
    const int widest = one ? 2 : 1;  // that leaves registers for five blocks
    return vectorsPerLane <= widest ? 5 : vectorsPerLane == widest + 1 ? 4 : 3;
  }
  int blocks(int64_t tokens) const {
    return static_cast<int>(std::min<int64_t>(ceilDivide(tokens, rowsPerBlock()),
                                              int64_t{multiprocessors()} * blocksPerMultiprocessor()));
  }
};

}  // namespace gradcache::cuda
