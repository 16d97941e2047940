#include "model/linear.h"

#include "model/products.h"

namespace gradcache {

namespace {

std::vector<ParameterSpec> specs(const std::vector<std::string>& names, const std::string& ending,
                                 const std::vector<int64_t>& shape, const Initial& initial) {
  std::vector<ParameterSpec> list;
  const bool matrix = shape.size() > 1;
  for (const std::string& name : names)
    list.push_back(
        {.name = name + ending, .shape = shape, .decay = matrix, .initial = initial, .linear = matrix});
  return list;
}

}  // namespace

Linear::Linear(ParameterList& list, const std::vector<std::string>& names, int64_t in, int64_t out, bool bias,
               const Initial& initial, const Initial& biasInitial)
    : weight_(list.add(specs(names, ".weight", {out, in}, initial))), adapters_(list, names, in, out) {
  if (bias) bias_ = list.add(specs(names, ".bias", {out}, biasInitial));
}

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
