// Packed sequences side by side in rectangles, for attention that is composed of libtorch's operators.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>

#include "kernels/sequences.h"

namespace gradcache::kernels::composite {

// The most pairs of a query and a key, in all heads, at once: a few tensors of 64 MiB in float32. Of a longer
// sequence, some queries are taken at a time.
constexpr int64_t kMostPairs = int64_t{1} << 24;

// Sequences that follow each other, side by side in a rectangle [n, longest] of token numbers.
struct Rectangle {
  int64_t firstToken, count;  // its tokens are these of the chunk
  // int64 [n, longest], counted from firstToken. Places after a sequence's end hold its last token, so that
  // sequences do not mix.
  at::Tensor tokens;
  // Undefined where every place holds a token.
  at::Tensor present;  // bool [n, longest]
  at::Tensor places;   // int64 [count]: where each token lies in the flattened rectangle
  at::Tensor keys;     // bool [n, longest]: what is attended to; undefined: what is present
};

// The rectangle of sequences [first, last), computed on the device without waiting for it.
Rectangle rectangle(const Sequences& sequences, int64_t first, int64_t last, int64_t longest);

// Visits all sequences in rectangles of at most kMostPairs pairs, or of one longer sequence. A chunk's
// sequences are sorted by length, so rectangles are almost full.
template <class Visit>
void inRectangles(const Sequences& sequences, int64_t heads, Visit visit) {
  const int64_t n = static_cast<int64_t>(sequences.offsets.size()) - 1;
  for (int64_t first = 0, last = 0; first < n; first = last) {
    int64_t longest = 0;
    for (; last < n; ++last) {
      const int64_t length = sequences.offsets[last + 1] - sequences.offsets[last];
      const int64_t side = std::max(longest, length);
      if (last > first && (last + 1 - first) * heads * side * side > kMostPairs) break;
      longest = side;
    }
    visit(rectangle(sequences, first, last, longest));
  }
}

// rows [count, heads * d] as [n, heads, longest, d]; places behind a sequence hold its last token's row.
at::Tensor spread(const at::Tensor& rows, const Rectangle& shape, int64_t heads);
// And back, into rows [count, heads * d]: what places behind a sequence hold is left out.
void gatherInto(const at::Tensor& rows, const at::Tensor& padded, const Rectangle& shape);

// int64 [n, heads, count]: the numbers by which dropout counts queries [from, from + count) of each sequence.
at::Tensor queryNumbers(const Rectangle& shape, int64_t from, int64_t count, int64_t heads);

}  // namespace gradcache::kernels::composite
