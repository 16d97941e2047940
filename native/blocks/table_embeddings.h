// Embeddings of BERT and its kin: dropout(norm(word + position + type)).
#pragma once

#include <optional>
#include <string>

#include "core/settings.h"
#include "kernels/embedding/embedding.h"
#include "model/block.h"
#include "model/builder.h"
#include "model/normalization.h"

namespace gradcache {

class TableEmbeddings final : public Block {
 public:
  // Names without ".weight" and ".bias".
  struct Names {
    std::string words = "embeddings.word_embeddings";
    std::string positions = "embeddings.position_embeddings";
    std::string types;  // empty where there are none
    std::string norm = "embeddings.LayerNorm";
  };
  // Embeddings of `width` columns, from the settings normEpsilon and hiddenDropout, and `types` if named.
  TableEmbeddings(const Names& names, int64_t width, const TokenRules& rules, const Settings& settings,
                  Builder& builder);

  Stream forward(Stream x, const Pass& pass, Tape* tape) const override;
  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override;
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  // The rows of each token in the tables.
  kernels::Embedding tables(const Pass& pass) const;

  int64_t width_;
  bool paddedPositions_;  // the table of positions has a row for padding
  ParameterId words_, positions_;
  std::optional<ParameterId> types_;
  Normalization norm_;
  Dropout dropout_;
};

// From the settings vocabulary, positions, paddingToken and positionsAfterPadding, and types if there.
TokenRules tokenRules(const Settings& settings);

}  // namespace gradcache
