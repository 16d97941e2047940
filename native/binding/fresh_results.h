// Puts results of an operator into new tensors first: while an engine works, the tensors of out= must not be
// resized.
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
  // After the call: copies the results into the caller's tensors, and puts these back on the stack. Copies
  // nothing and returns false if a result has another shape.
  bool deliver(torch::jit::Stack& stack) const;

 private:
  at::Tensor freshLike(const at::Tensor& out);

  std::vector<std::pair<at::Tensor, at::Tensor>> pairs_;  // the caller's tensor, and the one in its place
};

}  // namespace gradcache::binding
