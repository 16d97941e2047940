// A dense layer between embeddings of one width and layers of another.
#pragma once

#include <any>
#include <string>

#include "kernels/rows/rows.h"
#include "model/block.h"
#include "model/builder.h"
#include "model/linear.h"

namespace gradcache {

class Projection final : public Block {
 public:
  // Parameters `name`.weight and `name`.bias.
  Projection(const std::string& name, int64_t in, int64_t out, Builder& builder)
      : width_(out), linear_(builder.parameters, {name}, in, out) {}

  Stream forward(Stream x, const Pass& pass, Tape* tape) const override {
    if (tape != nullptr) *tape = x.kept();
    return {linear_.forward(x.rows, pass)};
  }

  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override {
    linear_.addWeightGradient(dy, std::any_cast<const Stream&>(tape).recalled(), pass);
    kernels::addColumnSum(linear_.biasGradient(pass), dy);
    return linear_.inputGradient(dy, pass);
  }

  int64_t tapeBytes(const ChunkSize& chunk) const override { return chunk.tokens * width_ * chunk.element; }

 private:
  int64_t width_;
  Linear linear_;
};

}  // namespace gradcache
