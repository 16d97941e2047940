// Shared by the operators: registration with libtorch's dispatcher, and what backward saves and reads.
//
// Each operator is a plain function, which libtorch calls when no graph is recorded, and a Function, whose
// forward saves what backward needs. Backward returns one entry for each argument of forward.
#pragma once

#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <optional>
#include <string>
#include <tuple>

#include "kernels/operators/arguments.h"

namespace gradcache::kernels {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using OptionalTensor = std::optional<Tensor>;

inline Tensor orUndefined(const OptionalTensor& tensor) { return tensor.value_or(Tensor()); }
inline bool wantsGradient(const Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); }

// Zeros in which a parameter's gradient adds up.
Tensor gradientOf(at::IntArrayRef shape, const Tensor& rows);

void keep(AutogradContext* context, const DropoutArgument& dropout);
DropoutKey keptKey(AutogradContext* context);

// dL/d(output `index`), as the kernels need it. Throws INPUT if a second derivative is requested.
Tensor incoming(const variable_list& gradients, size_t index = 0);

inline bool recordsGraph(const Tensor& tensor) { return wantsGradient(tensor); }
inline bool recordsGraph(const OptionalTensor& tensor) { return wantsGradient(orUndefined(tensor)); }
template <class Other>
bool recordsGraph(const Other&) {
  return false;
}

// What an operator returns, from what its Function's forward does.
inline Tensor returned(const Tensor& output) { return output; }
inline std::tuple<Tensor, Tensor> returned(const variable_list& outputs) { return {outputs[0], outputs[1]}; }

// Registered for autograd: calls the Function if a graph is recorded, else the plain function.
template <class Recorded, auto Plain>
struct WithGraph;
template <class Recorded, class Result, class... Arguments, Result (*Plain)(Arguments...)>
struct WithGraph<Recorded, Plain> {
  static Result call(Arguments... arguments) {
    // Kernels start on the current device, which may not be that of the first argument.
    const c10::OptionalDeviceGuard onDevice(at::device_of(std::get<0>(std::tie(arguments...))));
    if (at::GradMode::is_enabled() && (recordsGraph(arguments) || ...))
      return returned(Recorded::apply(arguments...));
    at::AutoDispatchBelowADInplaceOrView guard;
    return Plain(arguments...);
  }
};

// Its operators are registered for as long as it lives.
class OperatorLibrary {
 public:
  OperatorLibrary()
      : schemas_(torch::Library::FRAGMENT, "gradcache", std::nullopt, __FILE__, __LINE__),
        plain_(torch::Library::IMPL, "gradcache", c10::DispatchKey::CompositeExplicitAutograd, __FILE__,
               __LINE__),
        withGraph_(torch::Library::IMPL, "gradcache", c10::DispatchKey::Autograd, __FILE__, __LINE__) {}

  template <class Recorded, auto Plain>
  void add(const std::string& name, const std::string& signature) {
    schemas_.def(torch::schema((name + signature).c_str()));
    plain_.impl(name.c_str(), Plain);
    withGraph_.impl(name.c_str(), &WithGraph<Recorded, Plain>::call);
  }

 private:
  torch::Library schemas_, plain_, withGraph_;
};

}  // namespace gradcache::kernels
