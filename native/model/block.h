// An encoder is a list of blocks: embeddings first, then layers. A block does not know its neighbours.
#pragma once

#include <ATen/ATen.h>

#include <any>
#include <functional>
#include <optional>
#include <utility>

#include "model/branch.h"
#include "model/pass.h"

namespace gradcache {

// Passed from block to block.
struct Stream {
  at::Tensor rows;  // [T, width]
  // Computes the rows again from what the previous block keeps anyway. Null: a block that needs the rows in
  // its backward must keep them.
  std::function<at::Tensor()> again{};
  // What is still to be added to the rows. Only a block that adds branches meets it.
  std::optional<Branch> branch{};

  // For a tape: without the rows if they can be computed again.
  Stream kept() const { return again ? Stream{{}, again} : *this; }
  at::Tensor recalled() const { return again ? again() : rows; }
  // The same without a branch, which is used up.
  Stream added() && { return branch ? Stream{branch->addedTo(rows)} : std::move(*this); }
};

// What a block's backward needs of its forward: the block's own struct.
using Tape = std::any;

struct ChunkSize {
  int64_t tokens = 0, sequences = 0;
  int64_t element = 4, wide = 4;  // bytes of a number in the type that computes, and in that of the weights
};

class Block {
 public:
  virtual ~Block() = default;
  // The first block gets an empty stream and starts from the pass's tokens. `tape` is null if no backward
  // follows.
  virtual Stream forward(Stream x, const Pass& pass, Tape* tape) const = 0;
  // Whether forward adds a branch of its stream, because it begins with a norm.
  virtual bool addsBranch() const { return false; }
  // dL/d(x.rows), undefined for the first block; adds to the gradients of the block's parameters. Rows of dy
  // and of the result may lie apart.
  virtual at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const = 0;
  // Bytes of a tape, including the block's output if it cannot be computed again.
  virtual int64_t tapeBytes(const ChunkSize& chunk) const = 0;
};

}  // namespace gradcache
