#include "model/linear.h"

#include <utility>

#include "kernels/room.h"
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
               const Initial& initial, const Initial& biasInitial, const Adapters::Roomy& roomy)
    : weight_(list.add(weights(parts, in, initial))), adapters_(list, parts, in, weight_, roomy) {
  if (bias) bias_ = list.add(biases(parts, biasInitial));
}

Linear::Linear(ParameterList& list, const std::vector<std::string>& names, int64_t in, int64_t out, bool bias,
               const Initial& initial, const Initial& biasInitial)
    : Linear(list, alike(names, out), in, bias, initial, biasInitial) {}

at::Tensor Linear::throughMatrix(const at::Tensor& bias, const at::Tensor& x, const Pass& pass,
                                 AdapterRows* rows) const {
  const auto times = [&](const at::Tensor& in, const at::Tensor& matrix) {
    return bias.defined() ? at::addmm(bias, in, matrix.t()) : at::mm(in, matrix.t());
  };
  if (adapters_.empty()) return times(x, weight(pass));
  at::Tensor reduced = adapters_.reduced(x, pass);
  at::Tensor y;
  if (joins() && adapters_.joins(x)) {
    const at::Tensor all = pass.parameters->withRoom(weight_);
    y = times(kernels::sideBySide(x, reduced), all.narrow(0, 0, weight(pass).size(0)));
  } else {
    y = times(x, weight(pass));
    adapters_.addOutput(y, reduced, pass);
  }
  if (rows != nullptr) rows->reduced = std::move(reduced);
  return y;
}

at::Tensor Linear::product(const at::Tensor& x, const Pass& pass, AdapterRows* rows) const {
  return throughMatrix({}, x, pass, rows);
}

at::Tensor Linear::forward(const at::Tensor& x, const Pass& pass, AdapterRows* rows) const {
  return throughMatrix(bias(pass), x, pass, rows);
}

at::Tensor Linear::inputGradient(const at::Tensor& dy, const Pass& pass, AdapterRows* rows) const {
  return addInputGradient({}, dy, pass, rows);
}

at::Tensor Linear::addInputGradient(at::Tensor dx, const at::Tensor& dy, const Pass& pass,
                                    AdapterRows* rows) const {
  const auto add = [&](const at::Tensor& gradient, const at::Tensor& matrix) {
    if (dx.defined()) {
      dx.addmm_(gradient, matrix);
    } else {
      dx = at::mm(gradient, matrix);
    }
  };
  if (adapters_.empty()) {
    add(dy, weight(pass));
    return dx;
  }
  at::Tensor reduced = adapters_.reducedGradient(dy, pass);
  if (joins() && adapters_.joinsGradient(dy, pass)) {
    const at::Tensor all = pass.parameters->withRoom(weight_);
    add(kernels::sideBySide(dy, reduced), all.narrow(1, 0, weight(pass).size(1)));
  } else {
    add(dy, weight(pass));
    adapters_.addInputGradient(dx, reduced, pass);
  }
  if (rows != nullptr) rows->gradient = std::move(reduced);
  return dx;
}

void Linear::addWeightGradient(const at::Tensor& dy, const at::Tensor& x, const Pass& pass,
                               const AdapterRows& rows) const {
  addMatrixGradient(dy, x, pass);
  if (!adapters_.empty()) adapters_.addWeightGradients(dy, x, rows, pass);
}

void Linear::addMatrixGradient(const at::Tensor& dy, const at::Tensor& x, const Pass& pass) const {
  if (const at::Tensor& gradient = matrixGradient(pass); gradient.defined()) addProduct(gradient, dy, x);
}

}  // namespace gradcache
