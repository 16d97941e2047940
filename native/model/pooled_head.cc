#include "model/pooled_head.h"

#include <utility>

#include "core/error.h"
#include "core/recorded.h"
#include "kernels/dropout/dropout.h"

namespace gradcache {

namespace {

at::Tensor same(const at::Tensor& x) { return x; }
at::Tensor gelu(const at::Tensor& x) { return at::gelu(x); }

auto denseActivation(const std::string& name) -> at::Tensor (*)(const at::Tensor&) {
  if (name == "identity") return same;
  if (name == "tanh") return at::tanh;
  if (name == "relu") return at::relu;
  require(name == "gelu", "INPUT", "activation '", name,
          "' of a dense layer is unknown; use identity, tanh, relu or gelu");
  return gelu;
}

// As kernels::dropout, with a graph where x has one.
at::Tensor dropout(const at::Tensor& x, const DropoutKey& key) {
  if (!key.active()) return x;
  at::Tensor y = kernels::dropout(x.detach(), key);
  if (!x.requires_grad() || !at::GradMode::is_enabled()) return y;
  return record(y, x, [key](const at::Tensor& dy) { return kernels::dropout(dy, key); });
}

}  // namespace

PooledHead::PooledHead(int64_t width, const Settings& settings, Builder& builder)
    : width_(width),
      pooling_(kernels::poolingNamed(settings.text("pooling"))),
      normalize_(settings.truth("normalize")) {
  for (const Settings& layer : settings.list("dense")) {
    const std::string name =
        layer.has("name") ? layer.text("name") : "dense." + std::to_string(dense_.size());
    const int64_t in = layer.size("inFeatures"), out = layer.size("outFeatures");
    ParameterList& list = builder.parameters;
    Dense dense{in,
                out,
                builder.dropout(layer.has("dropout") ? layer.number("dropout") : 0),
                list.add({{name + ".weight", {out, in}}}),
                std::nullopt,
                denseActivation(layer.text("activation"))};
    if (layer.truth("bias")) dense.bias = list.add({{name + ".bias", {out}, false}});
    dense_.push_back(dense);
  }
}

int64_t PooledHead::tapeBytes(const ChunkSize& chunk) const {
  // A sequence's pooled row, its norm and offset; the tokens of the maxima; the dense layers.
  int64_t row = width_ * (chunk.wide + (pooling_ == kernels::Pooling::kMax ? 4 : 0)) + 16;
  for (const Dense& dense : dense_)
    row += (2 * dense.width + (dense.dropout.probability > 0 ? dense.in : 0)) * chunk.wide;
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
  const at::AutoGradMode recording(graph);
  for (const Dense& dense : dense_) {
    const Parameters& parameters = *pass->parameters;
    y = dense.activation(at::linear(dropout(y, dense.dropout.key(*pass)), parameters.leaf(dense.weight),
                                    dense.bias ? parameters.leaf(*dense.bias) : at::Tensor()));
  }
  if (!normalize_ || dense_.empty()) return {y};  // or normalised where it was pooled
  return {y.div(at::linalg_vector_norm(y, 2, at::IntArrayRef{1}, true).clamp_min(kernels::kLeastNorm))};
}

}  // namespace gradcache
