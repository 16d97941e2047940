// The operator gradcache::norm, with its graph.
#include "kernels/norm/norm.h"
#include "kernels/operators/library.h"

namespace gradcache::kernels {

namespace {

Norm normForward(const Tensor& x, const OptionalTensor& bias, const OptionalTensor& residual,
                 const Tensor& scale, const Tensor& shift, double epsilon, const DropoutArgument& dropout,
                 bool save) {
  const Tensor rows = rowsArgument("x", x), other = orUndefined(residual);
  return norm(rows, parameterArgument("bias", bias, rows, {rows.size(1)}),
              other.defined() ? likeRows("residual", other, rows) : other,
              normWeights(scale, shift, epsilon, rows), dropout.key(), save);
}

Tensor normPlain(const Tensor& x, const OptionalTensor& bias, const OptionalTensor& residual,
                 const Tensor& scale, const Tensor& shift, double epsilon, double p, int64_t seed,
                 int64_t site) {
  return normForward(x, bias, residual, scale, shift, epsilon, {p, seed, site}, false).y;
}

struct NormFunction : Function<NormFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const OptionalTensor& bias,
                        const OptionalTensor& residual, const Tensor& scale, const Tensor& shift,
                        double epsilon, double p, int64_t seed, int64_t site) {
    at::AutoDispatchBelowADInplaceOrView guard;
    Norm result = normForward(x, bias, residual, scale, shift, epsilon, {p, seed, site}, true);
    keep(context, {p, seed, site});
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["residual"] = orUndefined(residual).defined();
    context->save_for_backward({result.sum, result.mean, result.rstd, scale, shift, orUndefined(bias)});
    return result.y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const Tensor dy = incoming(gradients);
    const variable_list saved = context->get_saved_variables();
    const Tensor &scale = saved[3], &shift = saved[4], &bias = saved[5];
    const Tensor dscale = gradientOf(scale.sizes(), dy), dshift = gradientOf(shift.sizes(), dy),
                 dbias = bias.defined() ? gradientOf(bias.sizes(), dy) : Tensor();
    const NormWeights weights = normWeights(scale, shift, context->saved_data["epsilon"].toDouble(), dy);
    NormGradients result = normBackward(dy, {Tensor(), saved[0], saved[1], saved[2]}, weights,
                                        keptKey(context), dscale, dshift, dbias);
    const bool residual = context->saved_data["residual"].toBool();
    return {result.x,
            bias.defined() ? dbias.to(bias.scalar_type()) : Tensor(),
            residual ? result.sum : Tensor(),
            dscale.to(scale.scalar_type()),
            dshift.to(shift.scalar_type()),
            {},
            {},
            {},
            {}};
  }
};

}  // namespace

void addNormOperator(OperatorLibrary& library) {
  library.add<NormFunction, normPlain>("norm",
                                       "(Tensor x, Tensor? bias, Tensor? residual, Tensor scale, Tensor "
                                       "shift, float epsilon, float p, int seed, int site=0) -> Tensor");
}

}  // namespace gradcache::kernels
