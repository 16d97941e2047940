// Packed sequences side by side in rectangles, for attention that is composed of libtorch's operators.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <vector>

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
  // int64 [n, heads, longest]: the numbers by which dropout counts the queries; undefined unless asked for.
  at::Tensor queries;
};

// All sequences, in rectangles of at most kMostPairs pairs, or of one longer sequence. A chunk's sequences
// are sorted by length, so rectangles are almost full.
struct Rectangles {
  int64_t heads;
  bool numbered;  // their queries are
  std::vector<Rectangle> list;
};

// Computed on the device without waiting for it, once where the sequences keep them: a dozen small kernels
// for each rectangle would otherwise be launched by every layer.
std::shared_ptr<const Rectangles> rectanglesOf(const Sequences& sequences, int64_t heads, bool numbered);

// rows [count, heads * d] as [n, heads, longest, d]; places behind a sequence hold its last token's row.
at::Tensor spread(const at::Tensor& rows, const Rectangle& shape, int64_t heads);
// And back, of parts that lie side by side in the rows: what places behind a sequence hold is left out.
void gatherInto(const at::Tensor& rows, const std::vector<at::Tensor>& parts, const Rectangle& shape);

}  // namespace gradcache::kernels::composite
