#include "kernels/operators/library.h"

#include "core/error.h"

namespace gradcache::kernels {

Tensor gradientOf(at::IntArrayRef shape, const Tensor& rows) {
  return at::zeros(shape, rows.options().dtype(wideType(rows)));
}

void keep(AutogradContext* context, const DropoutArgument& dropout) {
  context->saved_data["p"] = dropout.probability;
  context->saved_data["seed"] = dropout.seed;
  context->saved_data["site"] = dropout.site;
}
DropoutKey keptKey(AutogradContext* context) {
  auto& data = context->saved_data;
  return DropoutArgument{data["p"].toDouble(), data["seed"].toInt(), data["site"].toInt()}.key();
}

Tensor incoming(const variable_list& gradients, size_t index) {
  require(!at::GradMode::is_enabled(), "INPUT",
          "the operators of gradcache have first derivatives only: leave out createGraph");
  return readable(gradients[index]);
}

}  // namespace gradcache::kernels
