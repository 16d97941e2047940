// The tensors that an operator writes, and the bookkeeping that libtorch leaves to its caller.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <c10/util/DimVector.h>

#include <vector>

namespace gradcache::binding {

// The arguments that an operator writes, for the time of the call.
class WrittenTensors {
 public:
  WrittenTensors(const c10::OperatorHandle& handle, const torch::jit::Stack& arguments);
  // Bumps the version of every tensor the operator wrote, even on failure. libtorch does so for what an
  // operator returns, but fused optimizers return nothing: a stale bfloat16 copy of the weights, or a graph,
  // would look current. Other tensors that libtorch does not count must stay so: batch norm's running
  // statistics, which its graph keeps, or a tensor of which only requires_grad changes. Composite operators
  // are counted by the operators they call.
  ~WrittenTensors();
  WrittenTensors(const WrittenTensors&) = delete;
  WrittenTensors& operator=(const WrittenTensors&) = delete;

  // For a call while an engine works: throws INPUT if the operator would replace the memory or shape of a
  // tensor that something else, perhaps that work, holds too. True if only the call itself shows whether it
  // resizes the tensors of out=: the results must then go into new tensors first.
  bool wantsFreshResults(const torch::jit::Stack& arguments) const;
  // Throws the error of `wantsFreshResults`.
  [[noreturn]] void refuseExchange() const;
  // After a failure: libtorch resizes a tensor before it allocates the memory. If that fails, the tensor
  // claims elements that it does not have, and reading them would read foreign memory.
  void putBackShapes() const;

 private:
  struct Before {
    at::Tensor tensor;
    int64_t version = -1;  // -1: libtorch counts
    bool strided = false;
    c10::DimVector sizes, strides;  // a fused optimizer writes hundreds of tensors: without allocations
    int64_t offset = 0;
  };
  void add(const at::Tensor& tensor, bool count);
  // Tries the operator on tensors without memory. True if a written tensor gets another shape or memory, or
  // if that is unknown.
  bool reshapesWithoutMemory(const torch::jit::Stack& arguments) const;

  const c10::OperatorHandle& handle_;
  bool reshapes_;   // an operator on the tensor's shape, not its values
  bool exchanges_;  // may do so
  std::vector<Before> before_;
};

}  // namespace gradcache::binding
