// Results of an operator in tensors of their own, for a call beside work on an engine that may not
// resize the tensors of out=.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/function_schema.h>
#include <ATen/core/stack.h>

#include <utility>
#include <vector>

namespace gradcache::binding {

class FreshResults {
 public:
  // Exchanges the tensors of out= on the stack for fresh ones of their shape.
  FreshResults(const c10::FunctionSchema& schema, torch::jit::Stack& stack);
  // After the call: copies the results into the caller's tensors, and puts these back on the stack. False,
  // and nothing is copied, where a result has another shape.
  bool deliver(torch::jit::Stack& stack) const;

 private:
  at::Tensor freshLike(const at::Tensor& out);

  std::vector<std::pair<at::Tensor, at::Tensor>> pairs_;  // the caller's tensor, and the one in its place
};

}  // namespace gradcache::binding
