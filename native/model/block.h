// What an encoder is a list of: embeddings first, then layers. A block knows nothing of those around it.
#pragma once

#include <ATen/ATen.h>

#include <any>
#include <functional>

#include "model/pass.h"

namespace gradcache {

// What goes from block to block.
struct Stream {
  at::Tensor rows;  // [T, width]
  // Computes the rows once more from what the block before keeps anyway; null where whoever needs them in its
  // backward must keep them.
  std::function<at::Tensor()> again{};

  // For a tape: without the rows where they can be had again.
  Stream kept() const { return again ? Stream{{}, again} : *this; }
  at::Tensor recalled() const { return again ? again() : rows; }
};

// What a block's backward needs of its forward: a struct of its own.
using Tape = std::any;

struct ChunkSize {
  int64_t tokens = 0, sequences = 0;
  int64_t element = 4, wide = 4;  // bytes of a number in the type that computes, and in that of the weights
};

class Block {
 public:
  virtual ~Block() = default;
  // The first block gets an empty stream and begins with the pass's tokens. `tape` is null where no backward
  // will follow.
  virtual Stream forward(const Stream& x, const Pass& pass, Tape* tape) const = 0;
  // dL/d(x.rows), undefined for the first block; adds to the gradients of the block's parameters.
  virtual at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const = 0;
  // What a tape holds, in bytes; with the block's output where that cannot be had again.
  virtual int64_t tapeBytes(const ChunkSize& chunk) const = 0;
};

}  // namespace gradcache
