// What the files of operators share: how an operator becomes known to libtorch's dispatcher, and what its
// backward keeps and reads.
//
// Each operator comes as a plain function, which libtorch calls where no graph is recorded, and as a
// Function, whose forward keeps what backward needs. The lists that backward returns are as long as forward's
// arguments.
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

// Where a parameter's gradient adds up.
Tensor gradientOf(at::IntArrayRef shape, const Tensor& rows);

void keep(AutogradContext* context, const DropoutArgument& dropout);
DropoutKey keptKey(AutogradContext* context);

// dL/d(output), in the form that the kernels take. Throws INPUT where a second derivative is asked for.
Tensor incoming(const variable_list& gradients);

inline bool recordsGraph(const Tensor& tensor) { return wantsGradient(tensor); }
inline bool recordsGraph(const OptionalTensor& tensor) { return wantsGradient(orUndefined(tensor)); }
template <class Other>
bool recordsGraph(const Other&) {
  return false;
}

// What autograd calls: the Function where a graph is to be recorded, else the plain function.
template <class Recorded, auto Plain>
struct WithGraph;
template <class Recorded, class... Arguments, Tensor (*Plain)(Arguments...)>
struct WithGraph<Recorded, Plain> {
  static Tensor call(Arguments... arguments) {
    // Kernels start on the current device, which a caller need not have made that of the first argument.
    const c10::OptionalDeviceGuard onDevice(at::device_of(std::get<0>(std::tie(arguments...))));
    if (at::GradMode::is_enabled() && (recordsGraph(arguments) || ...)) return Recorded::apply(arguments...);
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
