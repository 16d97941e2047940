#include "binding/fresh_results.h"

namespace gradcache::binding {

FreshResults::FreshResults(const c10::FunctionSchema& schema, torch::jit::Stack& stack) {
  for (size_t k = 0; k < stack.size(); ++k) {
    if (!schema.arguments()[k].is_out()) continue;
    if (stack[k].isTensor()) stack[k] = freshLike(stack[k].toTensor());
    if (!stack[k].isTensorList()) continue;
    c10::List<at::Tensor> list;
    for (const at::Tensor& out : stack[k].toTensorVector()) list.push_back(freshLike(out));
    stack[k] = list;
  }
}

at::Tensor FreshResults::freshLike(const at::Tensor& out) {
  at::Tensor fresh = at::empty_strided(out.sizes(), out.strides(), out.options());
  if (out.requires_grad()) fresh.requires_grad_();  // the operator refuses that itself
  pairs_.emplace_back(out, fresh);
  return fresh;
}

bool FreshResults::deliver(torch::jit::Stack& stack) const {
  for (const auto& [out, fresh] : pairs_)
    if (fresh.sizes() != out.sizes()) return false;
  for (const auto& [out, fresh] : pairs_) {
    out.copy_(fresh);
    for (c10::IValue& result : stack)
      if (result.isTensor() && result.toTensor().is_same(fresh)) result = out;
  }
  return true;
}

}  // namespace gradcache::binding
