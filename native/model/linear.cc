#include "model/linear.h"

namespace gradcache {

void addProduct(const at::Tensor& gradient, const at::Tensor& a, const at::Tensor& b) {
  if (gradient.scalar_type() == a.scalar_type()) {
    gradient.addmm_(a.t(), b);
  } else if (gradient.is_cuda()) {
    at::Tensor target = gradient;
    at::addmm_out(target, gradient, a.t(), b,
                  gradient.scalar_type());  // bfloat16 products, added up in float32
  } else {
    gradient.add_(at::mm(a.t(), b));
  }
}

at::Tensor wideProduct(const at::Tensor& x, const at::Tensor& w) {
  const at::ScalarType wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  // A GPU can hand the sums on as they are.
  return x.is_cuda() && x.scalar_type() != wide ? at::mm(x, w.t(), wide) : at::mm(x, w.t()).to(wide);
}

namespace {

std::vector<ParameterSpec> specs(const std::vector<std::string>& names, const std::string& ending,
                                 const std::vector<int64_t>& shape, const Initial& initial) {
  std::vector<ParameterSpec> list;
  for (const std::string& name : names) list.push_back({name + ending, shape, shape.size() > 1, initial});
  return list;
}

}  // namespace

Linear::Linear(ParameterList& list, const std::vector<std::string>& names, int64_t in, int64_t out, bool bias,
               const Initial& initial, const Initial& biasInitial)
    : weight_(list.add(specs(names, ".weight", {out, in}, initial))) {
  if (bias) bias_ = list.add(specs(names, ".bias", {out}, biasInitial));
}

at::Tensor Linear::product(const at::Tensor& x, const Pass& pass) const {
  return at::mm(x, weight(pass).t());
}

at::Tensor Linear::forward(const at::Tensor& x, const Pass& pass) const {
  return bias_ ? at::addmm(bias(pass), x, weight(pass).t()) : product(x, pass);
}

at::Tensor Linear::inputGradient(const at::Tensor& dy, const Pass& pass) const {
  return at::mm(dy, weight(pass));
}

at::Tensor Linear::addInputGradient(at::Tensor dx, const at::Tensor& dy, const Pass& pass) const {
  return dx.defined() ? dx.addmm_(dy, weight(pass)) : inputGradient(dy, pass);
}

void Linear::addWeightGradient(const at::Tensor& dy, const at::Tensor& x, const Pass& pass) const {
  if (const at::Tensor& gradient = weightGradient(pass); gradient.defined()) addProduct(gradient, dy, x);
}

}  // namespace gradcache
