#include "blocks/table_embeddings.h"

#include <tuple>
#include <utility>

#include "kernels/rows/rows.h"
#include "model/products.h"
#include "model/word_rows.h"

namespace gradcache {

namespace {
struct EmbeddingTape {
  kernels::Norm embedded;  // without y

  static int64_t bytes(int64_t width, const ChunkSize& chunk) {
    // The sum, the output, and for each token its id, position and statistics.
    return chunk.tokens * (2 * width * chunk.element + 40);
  }
};
}  // namespace

TokenRules tokenRules(const Settings& settings) {
  const int64_t vocabulary = settings.size("vocabulary");
  return {vocabulary, settings.size("positions"), settings.truth("positionsAfterPadding"),
          settings.size("paddingToken", -1, vocabulary - 1),
          settings.has("types") ? settings.size("types", 0) : 0};
}

TableEmbeddings::TableEmbeddings(const Names& names, int64_t width, const TokenRules& rules,
                                 const Settings& settings, Builder& builder)
    : width_(width),
      paddedPositions_(rules.afterPadding),
      words_(builder.words(names.words, rules.vocabulary, width)),
      positions_(builder.table(names.positions, rules.positions, width)),
      types_(names.types.empty() ? std::nullopt
                                 : std::optional(builder.table(names.types, settings.size("types"), width))),
      norm_(builder.parameters, names.norm, width, settings.number("normEpsilon")),
      dropout_(builder.dropout(settings.number("hiddenDropout"))) {}

kernels::Embedding TableEmbeddings::tables(const Pass& pass) const {
  const auto& [ids, places, types] = std::tie(pass.tokens.ids, pass.tokens.positions, pass.tokens.types);
  const at::Tensor positions = pass.weight(positions_);
  if (!types_) return {pass.weight(words_), positions, {}, ids, places};
  const at::Tensor typeRows = pass.weight(*types_);
  if (!types.defined()) return {pass.weight(words_), positions, typeRows.select(0, 0), ids, places};
  // A row for each position with each type: the kernels know no types of single tokens.
  const int64_t count = typeRows.size(0);
  const at::Tensor both = (positions.unsqueeze(1) + typeRows).view({positions.size(0) * count, width_});
  return {pass.weight(words_), both, {}, ids, places * count + types};
}

Stream TableEmbeddings::forward(Stream, const Pass& pass, Tape* tape) const {
  kernels::Norm embedded =
      kernels::embed(tables(pass), norm_.weights(pass), dropout_.key(pass), /*save=*/tape != nullptr);
  at::Tensor y = std::exchange(embedded.y, {});
  if (tape != nullptr) *tape = EmbeddingTape{std::move(embedded)};
  return {std::move(y)};
}

at::Tensor TableEmbeddings::backward(const at::Tensor& dy, Tape tape, const Pass& pass) const {
  const auto& embedded = std::any_cast<const EmbeddingTape&>(tape).embedded;
  const at::Tensor types = types_ ? pass.gradient(*types_) : at::Tensor();
  const bool firstTypeAlone = types.defined() && !pass.tokens.types.defined();
  at::Tensor dsum =
      kernels::embedBackward(dy, embedded, norm_.weights(pass), dropout_.key(pass), norm_.scaleGradient(pass),
                             norm_.shiftGradient(pass), firstTypeAlone ? types.select(0, 0) : at::Tensor());
  if (types.defined() && !firstTypeAlone) {
    const at::Tensor& given = pass.tokens.types;
    const at::Tensor isOfType = given.unsqueeze(1).eq(at::arange(types.size(0), given.options()));
    addProduct(types, isOfType.to(dsum.scalar_type()), dsum);
  }
  addWordRows(pass, words_, dsum);
  if (const at::Tensor& positions = pass.gradient(positions_); positions.defined())
    kernels::addRows(positions, pass.tokens.positions, paddedPositions_ ? withoutPadding(pass, dsum) : dsum);
  return {};
}

int64_t TableEmbeddings::tapeBytes(const ChunkSize& chunk) const {
  return EmbeddingTape::bytes(width_, chunk);
}

}  // namespace gradcache
