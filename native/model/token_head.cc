#include "model/token_head.h"

#include <utility>

namespace gradcache {

TokenHead::TokenHead(int64_t width, const Settings& settings, Builder& builder)
    : width_(width), normalize_(settings.truth("normalize")), dense_(width, settings, builder) {}

int64_t TokenHead::tapeBytes(const ChunkSize& chunk) const {
  // The token's row, the dense layers, and the rows before and after the normalisation.
  const int64_t row =
      width_ * chunk.wide + dense_.tapeBytes(chunk.wide) + (normalize_ ? 2 * dimension() * chunk.wide : 0);
  return chunk.tokens * row;
}

Encoded TokenHead::forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const {
  const at::AutoGradMode recording(graph);
  const PackedTokens& tokens = pass->tokens;
  at::Tensor rows = (tokens.counted.defined() ? x.index_select(0, tokens.counted) : x).to(pass->wideType());
  rows = dense_.forward(std::move(rows), *pass);
  return {normalize_ ? toLengthOne(rows) : rows, tokens.countsBySequence};
}

}  // namespace gradcache
