#include "model/linear.h"

#include "model/products.h"

namespace gradcache {

namespace {

std::vector<ParameterSpec> weights(const std::vector<Linear::Part>& parts, int64_t in,
                                   const Initial& initial) {
  std::vector<ParameterSpec> list;
  for (const auto& [name, out] : parts)
    list.push_back({.name = name + ".weight", .shape = {out, in}, .initial = initial, .linear = true});
  return list;
}

std::vector<ParameterSpec> biases(const std::vector<Linear::Part>& parts, const Initial& initial) {
  std::vector<ParameterSpec> list;
  for (const auto& [name, out] : parts) list.push_back({name + ".bias", {out}, false, initial});
  return list;
}

std::vector<Linear::Part> alike(const std::vector<std::string>& names, int64_t out) {
  std::vector<Linear::Part> parts;
  for (const std::string& name : names) parts.push_back({name, out});
  return parts;
}

}  // namespace

Linear::Linear(ParameterList& list, const std::vector<Part>& parts, int64_t in, bool bias,
               const Initial& initial, const Initial& biasInitial)
    : weight_(list.add(weights(parts, in, initial))), adapters_(list, parts, in) {
  if (bias) bias_ = list.add(biases(parts, biasInitial));
}

Linear::Linear(ParameterList& list, const std::vector<std::string>& names, int64_t in, int64_t out, bool bias,
               const Initial& initial, const Initial& biasInitial)
    : Linear(list, alike(names, out), in, bias, initial, biasInitial) {}

at::Tensor Linear::product(const at::Tensor& x, const Pass& pass) const {
  at::Tensor y = at::mm(x, weight(pass).t());
  adapters_.addOutput(y, x, pass);
  return y;
}

at::Tensor Linear::forward(const at::Tensor& x, const Pass& pass) const {
  if (!bias_) return product(x, pass);
  at::Tensor y = at::addmm(bias(pass), x, weight(pass).t());
  adapters_.addOutput(y, x, pass);
  return y;
}

at::Tensor Linear::inputGradient(const at::Tensor& dy, const Pass& pass) const {
  return addInputGradient({}, dy, pass);
}

at::Tensor Linear::addInputGradient(at::Tensor dx, const at::Tensor& dy, const Pass& pass) const {
  if (dx.defined()) {
    dx.addmm_(dy, weight(pass));
  } else {
    dx = at::mm(dy, weight(pass));
  }
  adapters_.addInputGradient(dx, dy, pass);
  return dx;
}

void Linear::addWeightGradient(const at::Tensor& dy, const at::Tensor& x, const Pass& pass) const {
  addMatrixGradient(dy, x, pass);
  adapters_.addWeightGradients(dy, x, pass);
}

void Linear::addMatrixGradient(const at::Tensor& dy, const at::Tensor& x, const Pass& pass) const {
  if (const at::Tensor& gradient = matrixGradient(pass); gradient.defined()) addProduct(gradient, dy, x);
}

}  // namespace gradcache
