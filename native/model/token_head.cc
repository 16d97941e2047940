#include "model/token_head.h"

#include <utility>

namespace gradcache {

TokenHead::TokenHead(int64_t width, const Settings& settings, Builder& builder)
    : width_(width), modules_(width, settings, builder) {}

int64_t TokenHead::tapeBytes(const ChunkSize& chunk) const {
  return chunk.tokens * (width_ * chunk.wide + modules_.tapeBytes(chunk.wide));
}

Encoded TokenHead::forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const {
  const at::AutoGradMode recording(graph);
  const PackedTokens& tokens = pass->tokens;
  at::Tensor rows = (tokens.counted.defined() ? x.index_select(0, tokens.counted) : x).to(pass->wideType());
  return {modules_.forward(std::move(rows), *pass), tokens.countsBySequence};
}

}  // namespace gradcache
