// A weight matrix and its bias. Blocks multiply only through it, so an adapter needs to wrap nothing else.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <vector>

#include "model/pass.h"

namespace gradcache {

// gradient += a^T b, in the gradient's own type.
void addProduct(const at::Tensor& gradient, const at::Tensor& a, const at::Tensor& b);

// x w^T in float32 (float64 for float64): narrower products are added up in it.
at::Tensor wideProduct(const at::Tensor& x, const at::Tensor& w);

class Linear {
 public:
  // Parameters `name`.weight [out, in] and, with a bias, `name`.bias [out]. Several names are stacked, each
  // with `out` rows.
  Linear(ParameterList& list, const std::vector<std::string>& names, int64_t in, int64_t out,
         bool bias = true, const Initial& initial = {}, const Initial& biasInitial = {});
  virtual ~Linear() = default;

  // x W^T without the bias, which the next norm or activation adds.
  virtual at::Tensor product(const at::Tensor& x, const Pass& pass) const;
  // x W^T + bias.
  virtual at::Tensor forward(const at::Tensor& x, const Pass& pass) const;
  // dx = dy W.
  virtual at::Tensor inputGradient(const at::Tensor& dy, const Pass& pass) const;
  // dx + dy W, written over dx; dy W where dx is undefined.
  virtual at::Tensor addInputGradient(at::Tensor dx, const at::Tensor& dy, const Pass& pass) const;
  // The weight's gradient += dy^T x, unless it is frozen.
  virtual void addWeightGradient(const at::Tensor& dy, const at::Tensor& x, const Pass& pass) const;

  // Undefined if there is none.
  at::Tensor bias(const Pass& pass) const { return bias_ ? pass.weight(*bias_) : at::Tensor(); }
  at::Tensor biasGradient(const Pass& pass) const { return bias_ ? pass.gradient(*bias_) : at::Tensor(); }

 protected:
  // What a pass multiplies with, and the weight's gradient; undefined if it is frozen.
  virtual at::Tensor weight(const Pass& pass) const { return pass.weight(weight_); }
  const at::Tensor& weightGradient(const Pass& pass) const { return pass.gradient(weight_); }

 private:
  ParameterId weight_;
  std::optional<ParameterId> bias_;
};

}  // namespace gradcache
