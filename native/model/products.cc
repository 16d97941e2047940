#include "model/products.h"

namespace gradcache {

void addProduct(const at::Tensor& gradient, const at::Tensor& a, const at::Tensor& b, double scale) {
  if (gradient.scalar_type() == a.scalar_type()) {
    gradient.addmm_(a.t(), b, 1, scale);
  } else if (gradient.is_cuda()) {
    at::Tensor target = gradient;
    at::addmm_out(target, gradient, a.t(), b, gradient.scalar_type(), 1,
                  scale);  // bfloat16 products, added up in float32
  } else {
    gradient.add_(at::mm(a.t(), b), scale);
  }
}

at::Tensor wideProduct(const at::Tensor& x, const at::Tensor& w) {
  const at::ScalarType wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  // A GPU can hand the sums on as they are.
  return x.is_cuda() && x.scalar_type() != wide ? at::mm(x, w.t(), wide) : at::mm(x, w.t()).to(wide);
}

}  // namespace gradcache
