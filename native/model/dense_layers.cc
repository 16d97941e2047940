#include "model/dense_layers.h"

#include <string>
#include <utility>

#include "core/error.h"
#include "core/recorded.h"
#include "kernels/dropout/dropout.h"
#include "kernels/pool/pool.h"

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

DenseLayers::DenseLayers(int64_t width, const Settings& settings, Builder& builder) : width_(width) {
  for (const Settings& layer : settings.list("dense")) {
    const std::string name =
        layer.has("name") ? layer.text("name") : "dense." + std::to_string(layers_.size());
    const int64_t in = layer.size("inFeatures"), out = layer.size("outFeatures");
    ParameterList& list = builder.parameters;
    Layer dense{in,
                out,
                builder.dropout(layer.has("dropout") ? layer.number("dropout") : 0),
                list.add({{name + ".weight", {out, in}}}),
                std::nullopt,
                denseActivation(layer.text("activation"))};
    if (layer.truth("bias")) dense.bias = list.add({{name + ".bias", {out}, false}});
    layers_.push_back(dense);
  }
}

at::Tensor DenseLayers::forward(at::Tensor rows, const Pass& pass) const {
  const Parameters& parameters = *pass.parameters;
  for (const Layer& layer : layers_)
    rows = layer.activation(at::linear(dropout(rows, layer.dropout.key(pass)), parameters.leaf(layer.weight),
                                       layer.bias ? parameters.leaf(*layer.bias) : at::Tensor()));
  return rows;
}

int64_t DenseLayers::tapeBytes(int64_t wide) const {
  int64_t bytes = 0;
  for (const Layer& layer : layers_)
    bytes += (2 * layer.width + (layer.dropout.probability > 0 ? layer.in : 0)) * wide;
  return bytes;
}

at::Tensor toLengthOne(const at::Tensor& rows) {
  return rows.div(at::linalg_vector_norm(rows, 2, at::IntArrayRef{1}, true).clamp_min(kernels::kLeastNorm));
}

}  // namespace gradcache
