#include "blocks/word_embeddings.h"

#include <cmath>

#include "kernels/dropout/dropout.h"
#include "model/word_rows.h"

namespace gradcache {

WordEmbeddings::WordEmbeddings(const std::string& name, int64_t vocabulary, int64_t width, double dropout,
                               Builder& builder)
    // As in the language models of SRU++.
    : WordEmbeddings(name, vocabulary, width, dropout, 1,
                     Initial::uniform(std::sqrt(3 / static_cast<double>(width))), builder) {}

WordEmbeddings::WordEmbeddings(const std::string& name, int64_t vocabulary, int64_t width, double dropout,
                               double scale, const Initial& initial, Builder& builder)
    : words_(builder.words(name, vocabulary, width, initial)),
      scale_(scale),
      dropout_(builder.dropout(dropout)) {}

namespace {

at::Tensor scaled(const at::Tensor& rows, double scale) {
  return scale == 1 ? rows : rows.mul(at::scalar_tensor(scale, rows.options()));
}

}  // namespace

Stream WordEmbeddings::forward(Stream, const Pass& pass, Tape* tape) const {
  const auto rows = [words = pass.weight(words_), ids = pass.tokens.ids, key = dropout_.key(pass),
                     scale = scale_] {
    return kernels::dropout(scaled(words.index_select(0, ids), scale), key);
  };
  return tape == nullptr ? Stream{rows()} : Stream{rows(), rows};
}

at::Tensor WordEmbeddings::backward(const at::Tensor& dy, Tape, const Pass& pass) const {
  if (hasWordGradient(pass, words_))
    addWordRows(pass, words_, scaled(kernels::dropout(dy, dropout_.key(pass)), scale_));
  return {};
}

int64_t WordEmbeddings::tapeBytes(const ChunkSize& chunk) const { return chunk.tokens * 8; }

}  // namespace gradcache
