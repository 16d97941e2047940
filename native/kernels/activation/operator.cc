// The operator gradcache::activation, with its graph.
#include "kernels/activation/activation.h"
#include "kernels/operators/library.h"

namespace gradcache::kernels {

namespace {

Tensor activationPlain(const Tensor& x, const OptionalTensor& bias, std::string_view kind) {
  const Tensor rows = rowsArgument("x", x);
  return activation(rows, parameterArgument("bias", bias, rows, {rows.size(1)}), activationNamed(kind));
}

struct ActivationFunction : Function<ActivationFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const OptionalTensor& bias,
                        std::string_view kind) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor rows = rowsArgument("x", x);
    const Activation chosen = activationNamed(kind);
    Tensor y = activation(rows, parameterArgument("bias", bias, rows, {rows.size(1)}), chosen);
    context->saved_data["kind"] = static_cast<int64_t>(chosen);
    context->save_for_backward({rows, orUndefined(bias)});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const Tensor dy = incoming(gradients);
    const variable_list saved = context->get_saved_variables();
    const Tensor &x = saved[0], &bias = saved[1];
    const Tensor dbias = bias.defined() ? gradientOf(bias.sizes(), dy) : Tensor();
    const Tensor given = bias.defined() ? parameterArgument("bias", bias, x, bias.sizes()) : Tensor();
    const auto kind = static_cast<Activation>(context->saved_data["kind"].toInt());
    ActivationGradients result = activationBackward(dy, x, given, kind, dbias);
    return {result.x, bias.defined() ? dbias.to(bias.scalar_type()) : Tensor(), {}};
  }
};

}  // namespace

void addActivationOperator(OperatorLibrary& library) {
  library.add<ActivationFunction, activationPlain>("activation",
                                                   "(Tensor x, Tensor? bias, str kind) -> Tensor");
}

}  // namespace gradcache::kernels
