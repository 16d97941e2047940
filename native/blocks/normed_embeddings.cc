#include "blocks/normed_embeddings.h"

#include <utility>

#include "kernels/dropout/dropout.h"
#include "kernels/rows/rows.h"
#include "model/word_rows.h"

namespace gradcache {

NormedEmbeddings::NormedEmbeddings(const Names& names, int64_t width, const TokenRules& rules,
                                   const NormStyle& norm, double dropout, Builder& builder)
    : width_(width),
      words_(builder.words(names.words, rules.vocabulary, width)),
      types_(names.types.empty() ? std::nullopt
                                 : std::optional(builder.table(names.types, rules.types, width))),
      norm_(builder.parameters, names.norm, width, norm),
      dropout_(builder.dropout(dropout)) {}

Stream NormedEmbeddings::forward(Stream, const Pass& pass, Tape* tape) const {
  at::Tensor rows = pass.weight(words_).index_select(0, pass.tokens.ids), firstType;
  if (types_ && pass.tokens.types.defined()) {
    rows.add_(pass.weight(*types_).index_select(0, pass.tokens.types));
  } else if (types_) {
    firstType = pass.weight(*types_).select(0, 0);
  }
  kernels::Norm norm = norm_.forward(rows, firstType, {}, {}, pass, /*save=*/tape != nullptr);
  at::Tensor y = kernels::dropout(std::exchange(norm.y, {}), dropout_.key(pass));
  if (tape != nullptr) *tape = std::move(norm);
  return {std::move(y)};
}

at::Tensor NormedEmbeddings::backward(const at::Tensor& dy, Tape tape, const Pass& pass) const {
  const at::Tensor types = types_ ? pass.gradient(*types_) : at::Tensor();
  const bool given = types.defined() && pass.tokens.types.defined();
  const at::Tensor drows =
      norm_
          .backward(kernels::dropout(dy, dropout_.key(pass)), std::any_cast<const kernels::Norm&>(tape), {},
                    types.defined() && !given ? types.select(0, 0) : at::Tensor(), pass)
          .sum;
  if (given) kernels::addRows(types, pass.tokens.types, drows);
  addWordRows(pass, words_, drows);
  return {};
}

int64_t NormedEmbeddings::tapeBytes(const ChunkSize& chunk) const {
  // The sum and the output; for each token its id, its position, mean and rstd.
  return chunk.tokens * (2 * width_ * chunk.element + 16 + 2 * chunk.wide);
}

}  // namespace gradcache
