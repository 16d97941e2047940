#include "model/pooled_head.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/recorded.h"

namespace gradcache {

namespace {

std::vector<kernels::Pooling> poolingsNamed(std::string_view names) {
  std::vector<kernels::Pooling> poolings;
  for (size_t begin = 0; begin <= names.size();) {
    const size_t end = std::min(names.find('+', begin), names.size());
    poolings.push_back(kernels::poolingNamed(names.substr(begin, end - begin)));
    begin = end + 1;
  }
  return poolings;
}

}  // namespace

PooledHead::PooledHead(int64_t width, const Settings& settings, Builder& builder)
    : tokenModules_(settings.has("tokenModules")
                        ? std::optional(HeadModules(width, settings, builder, "tokenModules"))
                        : std::nullopt),
      width_(tokenModules_ ? tokenModules_->width() : width),
      poolings_(poolingsNamed(settings.text("pooling"))),
      modules_(width_ * static_cast<int64_t>(poolings_.size()), settings, builder) {}

int64_t PooledHead::tapeBytes(const ChunkSize& chunk) const {
  // Of each pooling the row, its norm and offset, and the tokens of the maxima; rows side by side; the
  // modules.
  const auto count = static_cast<int64_t>(poolings_.size());
  const int64_t maxima = std::count(poolings_.begin(), poolings_.end(), kernels::Pooling::kMax);
  int64_t row = width_ * (count * chunk.wide + maxima * 4) + 16;
  if (count > 1) row += count * width_ * chunk.wide;
  row += modules_.tapeBytes(chunk.wide, normalizes() ? 1 : 0);
  const int64_t tokens = tokenModules_ ? chunk.tokens * tokenModules_->tapeBytes(chunk.wide) : 0;
  return tokens + chunk.sequences * row;
}

at::Tensor PooledHead::pool(const at::Tensor& x, const std::shared_ptr<const Pass>& pass,
                            kernels::Pooling pooling, bool graph) const {
  const bool normalize = normalizes();
  kernels::Pooled pooled = kernels::pool(x.detach(), pass->sequences(), pooling, normalize);
  if (!graph) return pooled.y;
  at::Tensor y = pooled.y;
  // Backward reads the result without its graph, which would keep itself alive.
  pooled.y = normalize ? y.detach() : at::Tensor();
  return record(
      y, x, [=, type = x.scalar_type(), version = normalize ? y._version() : 0](const at::Tensor& dy) {
        require(!pooled.y.defined() || pooled.y._version() == version, "INPUT",
                "the representations were changed in place between a chunk's forward and its backward");
        return kernels::poolBackward(dy, pooled, pass->sequences(), pooling, type);
      });
}

at::Tensor PooledHead::throughTokenModules(const at::Tensor& x, const Pass& pass, bool graph) const {
  if (!tokenModules_) return x;
  const at::AutoGradMode recording(graph);
  return tokenModules_->forward(x.to(pass.wideType()), pass);
}

Encoded PooledHead::forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const {
  const at::Tensor tokens = throughTokenModules(x, *pass, graph);
  std::vector<at::Tensor> rows;
  for (const kernels::Pooling pooling : poolings_)
    rows.push_back(pool(tokens, pass, pooling, graph && tokens.requires_grad()));
  const at::AutoGradMode recording(graph);
  at::Tensor y = rows.size() == 1 ? std::move(rows.front()) : at::cat(rows, 1);
  return {modules_.forward(std::move(y), *pass, normalizes() ? 1 : 0)};
}

}  // namespace gradcache
