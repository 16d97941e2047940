// Word vectors alone, under dropout: recurrent layers know the order of words without positions.
#pragma once

#include <string>

#include "model/block.h"
#include "model/builder.h"

namespace gradcache {

class WordEmbeddings final : public Block {
 public:
  // Parameter `name`.weight [vocabulary, width].
  WordEmbeddings(const std::string& name, int64_t vocabulary, int64_t width, double dropout,
                 Builder& builder);

  Stream forward(const Stream& x, const Pass& pass, Tape* tape) const override;
  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override;
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  ParameterId words_;
  Dropout dropout_;
};

}  // namespace gradcache
