// A norm of its own, as models whose layers begin with norms have it behind the last one.
#pragma once

#include <string>

#include "model/block.h"
#include "model/builder.h"
#include "model/normalization.h"

namespace gradcache {

class FinalNorm final : public Block {
 public:
  FinalNorm(const std::string& name, int64_t width, const NormStyle& style, Builder& builder)
      : norm_(builder.parameters, name, width, style) {}

  Stream forward(const Stream& x, const Pass& pass, Tape* tape) const override {
    kernels::Norm norm = norm_.forward(x.rows, {}, {}, {}, pass, /*save=*/tape != nullptr);
    if (tape == nullptr) return {std::move(norm.y)};
    Stream y = norm_.stream(std::exchange(norm.y, {}), norm, pass);
    *tape = std::move(norm);
    return y;
  }

  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override {
    return norm_.backward(dy, std::any_cast<const kernels::Norm&>(tape), {}, {}, pass).sum;
  }

  // Mean and rstd; its input is the output of the block before.
  int64_t tapeBytes(const ChunkSize& chunk) const override { return chunk.tokens * 2 * chunk.wide; }

 private:
  Normalization norm_;
};

}  // namespace gradcache
