// A norm of its own, as models whose layers begin with norms have it behind the last one.
#pragma once

#include <string>

#include "kernels/dropout/dropout.h"
#include "model/block.h"
#include "model/builder.h"
#include "model/normalization.h"

namespace gradcache {

class FinalNorm final : public Block {
 public:
  FinalNorm(const std::string& name, int64_t width, const NormStyle& style, Builder& builder)
      : FinalNorm(name, width, style, 0, builder) {}
  // With dropout behind the norm.
  FinalNorm(const std::string& name, int64_t width, const NormStyle& style, double dropout, Builder& builder)
      : width_(width), norm_(builder.parameters, name, width, style), dropout_(builder.dropout(dropout)) {}

  Stream forward(Stream x, const Pass& pass, Tape* tape) const override {
    kernels::Norm norm = norm_.forward(x, pass, /*save=*/tape != nullptr);
    at::Tensor y = kernels::dropout(std::exchange(norm.y, {}), dropout_.key(pass));
    if (tape != nullptr) *tape = std::move(norm);
    return {std::move(y)};
  }

  bool addsBranch() const override { return true; }

  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override {
    return norm_
        .backward(kernels::dropout(dy, dropout_.key(pass)), std::any_cast<const kernels::Norm&>(tape), {}, {},
                  pass)
        .sum;
  }

  // Its output, mean and rstd; its input is the output of the block before.
  int64_t tapeBytes(const ChunkSize& chunk) const override {
    return chunk.tokens * (width_ * chunk.element + 2 * chunk.wide);
  }

 private:
  int64_t width_;
  Normalization norm_;
  Dropout dropout_;
};

}  // namespace gradcache
