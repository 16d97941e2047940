// What an operator writes, and what libtorch leaves to its caller there.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <vector>

namespace gradcache::binding {

// The tensors among the arguments that an operator writes, for the time of the call.
class WrittenTensors {
 public:
  WrittenTensors(const c10::OperatorHandle& handle, const torch::jit::Stack& arguments);
  // Counts the tensors as written, also where the operator failed halfway. libtorch does so itself for what
  // an operator returns, but not for its fused optimizers, which return nothing; and what was made from the
  // old values (an encoder's copy of its weights in bfloat16, a graph) would pass for current. What else
  // libtorch leaves uncounted must stay so: batch norm's running statistics, which its graph keeps, or a
  // tensor of which only requires_grad changes. Composed operators are counted by those that they are
  // composed of.
  ~WrittenTensors();
  WrittenTensors(const WrittenTensors&) = delete;
  WrittenTensors& operator=(const WrittenTensors&) = delete;

  // For a call beside work on an engine: throws INPUT where the operator would exchange the memory or
  // the shape of a tensor that something else holds as well, which may be that work. True where only the call
  // can tell, which resizes the tensors of out=: the results then have to go into tensors of their own first.
  bool wantsFreshResults(const torch::jit::Stack& arguments) const;
  // What `wantsFreshResults` throws.
  [[noreturn]] void refuseExchange() const;
  // After a failure: libtorch resizes a tensor before it asks for the memory. Where that is not to be had,
  // the tensor claims elements that it does not have, and whoever reads them reads what is not its own.
  void putBackShapes() const;

 private:
  struct Before {
    at::Tensor tensor;
    int64_t version = -1;  // -1: libtorch counts
    bool strided = false;
    std::vector<int64_t> sizes, strides;
    int64_t offset = 0;
  };
  void add(const at::Tensor& tensor, bool count);
  // For an operator on shapes, tries it on tensors without memory: whether what it writes gets another shape
  // or memory, or nobody knows.
  bool reshapesWithoutMemory(const torch::jit::Stack& arguments) const;

  const c10::OperatorHandle& handle_;
  bool reshapes_;   // an operator on the tensor's shape, not its values
  bool exchanges_;  // may do so
  std::vector<Before> before_;
};

}  // namespace gradcache::binding
