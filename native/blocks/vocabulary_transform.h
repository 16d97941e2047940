// What a masked language model does before it compares tokens with the words of its vocabulary: dense layer,
// activation, norm.
#pragma once

#include <string>

#include "core/settings.h"
#include "kernels/activation/activation.h"
#include "model/block.h"
#include "model/builder.h"
#include "model/linear.h"
#include "model/normalization.h"

namespace gradcache {

class VocabularyTransform final : public Block {
 public:
  // From rows of `in` columns to those of the setting `width`. The settings dense and norm are names without
  // ".weight" and ".bias"; denseBias and normBias say whether there are the latter.
  VocabularyTransform(int64_t in, const Settings& settings, Builder& builder);

  Stream forward(Stream x, const Pass& pass, Tape* tape) const override;
  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override;
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  int64_t width_;
  kernels::Activation activation_;
  Linear dense_;
  Normalization norm_;
};

}  // namespace gradcache
