// Word vectors alone, scaled and under dropout: recurrent layers know the order of words without positions,
// and others turn queries and keys by them.
#pragma once

#include <string>

#include "model/block.h"
#include "model/builder.h"

namespace gradcache {

class WordEmbeddings final : public Block {
 public:
  // Parameter `name`.weight [vocabulary, width], whose rows have a length of about one at first.
  WordEmbeddings(const std::string& name, int64_t vocabulary, int64_t width, double dropout,
                 Builder& builder);
  // The same from `initial`. The vectors are multiplied by `scale`, rounded to the type that computes.
  WordEmbeddings(const std::string& name, int64_t vocabulary, int64_t width, double dropout, double scale,
                 const Initial& initial, Builder& builder);

  Stream forward(Stream x, const Pass& pass, Tape* tape) const override;
  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override;
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  ParameterId words_;
  double scale_;
  Dropout dropout_;
};

}  // namespace gradcache
