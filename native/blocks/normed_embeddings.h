// Word vectors, with those of types where there are any, behind a norm and dropout: the embeddings of models
// whose layers know the positions.
#pragma once

#include <optional>
#include <string>

#include "model/block.h"
#include "model/builder.h"
#include "model/normalization.h"

namespace gradcache {

class NormedEmbeddings final : public Block {
 public:
  // Names without ".weight" and ".bias".
  struct Names {
    std::string words;
    std::string types;  // empty where there are none
    std::string norm;
  };
  NormedEmbeddings(const Names& names, int64_t width, const TokenRules& rules, const NormStyle& norm,
                   double dropout, Builder& builder);

  Stream forward(Stream x, const Pass& pass, Tape* tape) const override;
  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override;
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  int64_t width_;
  ParameterId words_;
  std::optional<ParameterId> types_;
  Normalization norm_;
  Dropout dropout_;
};

}  // namespace gradcache
