// The operator gradcache::gate, with its graph.
#include "core/error.h"
#include "kernels/gate/gate.h"
#include "kernels/operators/library.h"

namespace gradcache::kernels {

namespace {

Tensor halvesArgument(const Tensor& x) {
  const Tensor rows = rowsArgument("x", x);
  require(rows.size(1) % 2 == 0, "SHAPE", "x has ", rows.size(1),
          " columns; as many of the gate as of what it lets through are needed");
  return rows;
}

GateOrder orderOf(bool gateFirst) { return gateFirst ? GateOrder::kGateFirst : GateOrder::kUpFirst; }

Tensor gatePlain(const Tensor& x, const OptionalTensor& bias, std::string_view kind, bool gateFirst) {
  const Tensor rows = halvesArgument(x);
  return gated(rows, parameterArgument("bias", bias, rows, {rows.size(1)}), activationNamed(kind),
               orderOf(gateFirst));
}

struct GateFunction : Function<GateFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const OptionalTensor& bias,
                        std::string_view kind, bool gateFirst) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor rows = halvesArgument(x);
    const Activation chosen = activationNamed(kind);
    Tensor y = gated(rows, parameterArgument("bias", bias, rows, {rows.size(1)}), chosen, orderOf(gateFirst));
    context->saved_data["kind"] = static_cast<int64_t>(chosen);
    context->saved_data["gateFirst"] = gateFirst;
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
    ActivationGradients result =
        gatedBackward(dy, x, given, kind, orderOf(context->saved_data["gateFirst"].toBool()), dbias);
    return {result.x, bias.defined() ? dbias.to(bias.scalar_type()) : Tensor(), {}, {}};
  }
};

}  // namespace

void addGateOperator(OperatorLibrary& library) {
  library.add<GateFunction, gatePlain>("gate",
                                       "(Tensor x, Tensor? bias, str kind, bool gate_first) -> Tensor");
}

}  // namespace gradcache::kernels
