// A linear whose weights drop out, each on its own (Wan et al. 2013), as those of AWD's recurrent layers do
// (Merity et al. 2018). All tokens of a pass meet the same weights.
#pragma once

#include "kernels/dropout/dropout.h"
#include "model/linear.h"
#include "model/products.h"

namespace gradcache {

class DroppedLinear final : public Linear {
 public:
  // As Linear's.
  DroppedLinear(ParameterList& list, const std::vector<std::string>& names, int64_t in, int64_t out,
                bool bias, const Initial& initial, const Initial& biasInitial, const Dropout& dropout)
      : Linear(list, names, in, out, bias, initial, biasInitial), dropout_(dropout) {}

  // The weights of this pass, [out, in].
  at::Tensor weight(const Pass& pass) const override {
    return kernels::dropout(Linear::weight(pass), dropout_.key(pass));
  }

 protected:
  // What drops out is the matrix alone.
  bool joins() const override { return false; }
  void addMatrixGradient(const at::Tensor& dy, const at::Tensor& x, const Pass& pass) const override {
    const DropoutKey key = dropout_.key(pass);
    const at::Tensor& gradient = matrixGradient(pass);
    if (!key.active()) return Linear::addMatrixGradient(dy, x, pass);
    if (!gradient.defined()) return;
    at::Tensor all = at::zeros_like(gradient);
    addProduct(all, dy, x);
    gradient.add_(kernels::dropout(all, key));
  }

 private:
  Dropout dropout_;
};

}  // namespace gradcache
