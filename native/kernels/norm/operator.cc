// The operator gradcache::norm, with its graph.
#include "kernels/norm/norm.h"

#include <cmath>
#include <optional>

#include "core/error.h"
#include "kernels/operators/library.h"

namespace gradcache::kernels {

namespace {

struct NormArgument {
  Tensor scale;
  OptionalTensor shift;
  double epsilon;
  bool rootSquare;
  double offset;

  NormWeights weights(const Tensor& rows) const {
    NormWeights weights = normWeights(scale, orUndefined(shift), epsilon, rows);
    weights.kind = rootSquare ? NormKind::kRootSquare : NormKind::kLayer;
    weights.offset = offset;
    require(std::isfinite(offset), "INPUT", "offset = ", offset, " must be a finite number");
    return weights;
  }
};

Norm normForward(const Tensor& x, const OptionalTensor& bias, const OptionalTensor& residual,
                 const NormArgument& weights, const DropoutArgument& dropout, bool save) {
  const Tensor rows = rowsArgument("x", x), other = orUndefined(residual);
  return norm(rows, parameterArgument("bias", bias, rows, {rows.size(1)}),
              other.defined() ? likeRows("residual", other, rows) : other, weights.weights(rows),
              dropout.key(), save);
}

Tensor normPlain(const Tensor& x, const OptionalTensor& bias, const OptionalTensor& residual,
                 const Tensor& scale, const OptionalTensor& shift, double epsilon, double p, int64_t seed,
                 int64_t site, bool rootSquare, double offset) {
  const NormArgument weights{scale, shift, epsilon, rootSquare, offset};
  return normForward(x, bias, residual, weights, {p, seed, site}, false).y;
}

struct NormFunction : Function<NormFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const OptionalTensor& bias,
                        const OptionalTensor& residual, const Tensor& scale, const OptionalTensor& shift,
                        double epsilon, double p, int64_t seed, int64_t site, bool rootSquare,
                        double offset) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const NormArgument weights{scale, shift, epsilon, rootSquare, offset};
    Norm result = normForward(x, bias, residual, weights, {p, seed, site}, true);
    keep(context, {p, seed, site});
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["rootSquare"] = rootSquare;
    context->saved_data["offset"] = offset;
    context->saved_data["residual"] = orUndefined(residual).defined();
    context->save_for_backward(
        {result.sum, result.mean, result.rstd, scale, orUndefined(shift), orUndefined(bias)});
    return result.y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const Tensor dy = incoming(gradients);
    const variable_list saved = context->get_saved_variables();
    const Tensor &scale = saved[3], &shift = saved[4], &bias = saved[5];
    auto gradientLike = [&](const Tensor& parameter) {
      return parameter.defined() ? gradientOf(parameter.sizes(), dy) : Tensor();
    };
    auto returned = [](const Tensor& gradient, const Tensor& parameter) {
      return parameter.defined() ? gradient.to(parameter.scalar_type()) : Tensor();
    };
    const Tensor dscale = gradientLike(scale), dshift = gradientLike(shift), dbias = gradientLike(bias);
    auto& data = context->saved_data;
    const NormArgument weights{scale, shift.defined() ? OptionalTensor(shift) : std::nullopt,
                               data["epsilon"].toDouble(), data["rootSquare"].toBool(),
                               data["offset"].toDouble()};
    NormGradients result = normBackward(dy, {}, {Tensor(), saved[0], saved[1], saved[2]}, weights.weights(dy),
                                        keptKey(context), dscale, dshift, dbias, Output::kNone);
    return {result.x,
            returned(dbias, bias),
            data["residual"].toBool() ? result.sum : Tensor(),
            returned(dscale, scale),
            returned(dshift, shift),
            {},
            {},
            {},
            {},
            {},
            {}};
  }
};

}  // namespace

void addNormOperator(OperatorLibrary& library) {
  library.add<NormFunction, normPlain>(
      "norm",
      "(Tensor x, Tensor? bias, Tensor? residual, Tensor scale, Tensor? shift, float epsilon, float p, int "
      "seed, int site=0, bool root_square=False, float offset=0) -> Tensor");
}

}  // namespace gradcache::kernels
