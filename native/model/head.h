// What follows the blocks: it makes representations of their rows.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "model/block.h"

namespace gradcache {

// Representations of the sequences of a chunk.
struct Encoded {
  at::Tensor rows;  // in the type of the weights, with a graph if one was asked for
  // How many rows each sequence has, row after row; empty: one.
  std::vector<int32_t> counts{};
};

class Head {
 public:
  virtual ~Head() = default;
  // Of rows x [T, width], in the form that training takes.
  virtual Encoded forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const = 0;
  // [sequences, dimension] without a graph, whatever the form in training is.
  virtual at::Tensor dense(const at::Tensor& x, const std::shared_ptr<const Pass>& pass) const {
    return forward(x, pass, false).rows;
  }
  virtual int64_t dimension() const = 0;
  // Columns of a row in training.
  virtual int64_t columns() const { return dimension(); }
  // Whether a sequence has one row in training.
  virtual bool oneRow() const { return true; }
  // Whether it has one for each token that counts.
  virtual bool perToken() const { return false; }
  // Whether tokens at the beginning of a text can be left out of its row.
  virtual bool skips() const { return false; }
  // Bytes that a graph keeps, including the rows x if no block keeps them.
  virtual int64_t tapeBytes(const ChunkSize& chunk) const = 0;
};

}  // namespace gradcache
