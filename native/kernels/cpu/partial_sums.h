#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

namespace gradcache::kernels::cpu {

// Sums over tokens in a fixed order, whatever the number of threads: the tokens are cut into blocks that
// depend on their number alone, `body(first, last, sums)` adds one block's rows into its own `width` sums
// (zero at first), and the blocks' sums are added in order. Returns [width].
template <class T, class Body>
std::vector<T> sumOverTokens(int64_t tokens, int64_t width, const Body& body) {
  const int64_t blocks = std::clamp<int64_t>(tokens / 64, 1, 32);
  std::vector<T> partial(static_cast<size_t>(blocks * width), T(0));
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      body(tokens * b / blocks, tokens * (b + 1) / blocks, partial.data() + b * width);
    }
  });
  for (int64_t b = 1; b < blocks; ++b) {
    for (int64_t c = 0; c < width; ++c) partial[c] += partial[b * width + c];
  }
  partial.resize(static_cast<size_t>(width));
  return partial;
}

template <class T>
void addTo(const at::Tensor& gradient, const T* sums) {
  T* data = gradient.mutable_data_ptr<T>();
  for (int64_t c = 0; c < gradient.numel(); ++c) data[c] += sums[c];
}

}  // namespace gradcache::kernels::cpu
