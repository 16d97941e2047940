#include "model/pooled_head.h"

#include <utility>

#include "core/error.h"
#include "core/recorded.h"

namespace gradcache {

PooledHead::PooledHead(int64_t width, const Settings& settings, Builder& builder)
    : width_(width),
      pooling_(kernels::poolingNamed(settings.text("pooling"))),
      normalize_(settings.truth("normalize")),
      dense_(width, settings, builder) {}

int64_t PooledHead::tapeBytes(const ChunkSize& chunk) const {
  // A sequence's pooled row, its norm and offset; the tokens of the maxima; the dense layers.
  int64_t row = width_ * (chunk.wide + (pooling_ == kernels::Pooling::kMax ? 4 : 0)) + 16;
  row += dense_.tapeBytes(chunk.wide);
  if (normalize_ && !dense_.empty()) row += dimension() * chunk.wide;
  return chunk.sequences * row;
}

at::Tensor PooledHead::pool(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const {
  const bool normalize = normalize_ && dense_.empty();
  kernels::Pooled pooled = kernels::pool(x, pass->sequences(), pooling_, normalize);
  if (!graph) return pooled.y;
  at::Tensor y = pooled.y;
  // Backward reads the result without its graph, which would keep itself alive.
  pooled.y = normalize ? y.detach() : at::Tensor();
  return record(y, x,
                [=, pooling = pooling_, type = x.scalar_type(),
                 version = normalize ? y._version() : 0](const at::Tensor& dy) {
                  require(
                      !pooled.y.defined() || pooled.y._version() == version, "INPUT",
                      "the representations were changed in place between a chunk's forward and its backward");
                  return kernels::poolBackward(dy, pooled, pass->sequences(), pooling, type);
                });
}

Encoded PooledHead::forward(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const {
  at::Tensor y = pool(x, pass, graph && x.requires_grad());
  if (dense_.empty()) return {y};  // normalised where it was pooled
  const at::AutoGradMode recording(graph);
  y = dense_.forward(std::move(y), *pass);
  return {normalize_ ? toLengthOne(y) : y};
}

}  // namespace gradcache
