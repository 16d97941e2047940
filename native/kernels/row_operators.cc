// gradcache::dropout, norm, activation and embed: what works on one token at a time.
#include "kernels/operator_library.h"

namespace gradcache::kernels {

namespace {

// ---- dropout
// ---------------------------------------------------------------------------------------------------
Tensor dropoutPlain(const Tensor& x, double p, int64_t seed, int64_t site) {
  const DropoutKey key = DropoutArgument{p, seed, site}.key();
  Tensor y = dropout(rowsArgument("x", x), key);
  return key.active() ? y : x.clone();  // a result of its own, which may be changed in place
}

struct DropoutFunction : Function<DropoutFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, double p, int64_t seed, int64_t site) {
    at::AutoDispatchBelowADInplaceOrView guard;
    keep(context, {p, seed, site});
    return dropoutPlain(x, p, seed, site);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return {dropout(incoming(gradients), keptKey(context)), {}, {}, {}};
  }
};

// ---- norm
// ---------------------------------------------------------------------------------------------------
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

// ---- activation
// ---------------------------------------------------------------------------------------------------
Tensor activationPlain(const Tensor& x, const Tensor& bias, std::string_view kind) {
  const Tensor rows = rowsArgument("x", x);
  return activation(rows, parameterArgument("bias", bias, rows, {rows.size(1)}), activationNamed(kind));
}

struct ActivationFunction : Function<ActivationFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& bias,
                        std::string_view kind) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Tensor rows = rowsArgument("x", x);
    const Activation chosen = activationNamed(kind);
    Tensor y = activation(rows, parameterArgument("bias", bias, rows, {rows.size(1)}), chosen);
    context->saved_data["kind"] = static_cast<int64_t>(chosen);
    context->save_for_backward({rows, bias});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const Tensor dy = incoming(gradients);
    const variable_list saved = context->get_saved_variables();
    const Tensor &x = saved[0], &bias = saved[1];
    const Tensor dbias = gradientOf(bias.sizes(), dy);
    const auto kind = static_cast<Activation>(context->saved_data["kind"].toInt());
    ActivationGradients result =
        activationBackward(dy, x, parameterArgument("bias", bias, x, bias.sizes()), kind, dbias);
    return {result.x, dbias.to(bias.scalar_type()), {}};
  }
};

// ---- embed
// ---------------------------------------------------------------------------------------------------
struct EmbedArguments {
  Embedding embedding;
  NormWeights weights;
};

EmbedArguments embedArguments(const Tensor& words, const Tensor& positions, const OptionalTensor& type,
                              const Tensor& ids, const Tensor& places, const Tensor& scale,
                              const Tensor& shift, double epsilon) {
  const Tensor table = rowsArgument("words", words);
  const int64_t width = table.size(1), tokens = ids.dim() == 1 ? ids.size(0) : 0;
  const Tensor second = rowsArgument("positions", positions);
  return {{table, parameterArgument("positions", second, table, {second.size(0), width}),
           parameterArgument("type", type, table, {width}), indicesArgument("ids", ids, table, tokens),
           indicesArgument("places", places, second, tokens)},
          normWeights(scale, shift, epsilon, table)};
}

Tensor embedPlain(const Tensor& words, const Tensor& positions, const OptionalTensor& type, const Tensor& ids,
                  const Tensor& places, const Tensor& scale, const Tensor& shift, double epsilon, double p,
                  int64_t seed, int64_t site) {
  const DropoutKey key = DropoutArgument{p, seed, site}.key();
  const EmbedArguments a = embedArguments(words, positions, type, ids, places, scale, shift, epsilon);
  return embed(a.embedding, a.weights, key, false).y;
}

struct EmbedFunction : Function<EmbedFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& words, const Tensor& positions,
                        const OptionalTensor& type, const Tensor& ids, const Tensor& places,
                        const Tensor& scale, const Tensor& shift, double epsilon, double p, int64_t seed,
                        int64_t site) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const DropoutArgument dropout{p, seed, site};
    const EmbedArguments a = embedArguments(words, positions, type, ids, places, scale, shift, epsilon);
    Norm result = embed(a.embedding, a.weights, dropout.key(), true);
    keep(context, dropout);
    context->saved_data["epsilon"] = epsilon;
    // Of the tables backward needs the shapes alone.
    describe(context, "words", words);
    describe(context, "positions", positions);
    describe(context, "type", orUndefined(type));
    context->save_for_backward(
        {result.sum, result.mean, result.rstd, scale, shift, a.embedding.ids, a.embedding.places});
    return result.y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const Tensor dy = incoming(gradients);
    const variable_list saved = context->get_saved_variables();
    const Tensor &scale = saved[3], &shift = saved[4];
    const Tensor dscale = gradientOf(scale.sizes(), dy), dshift = gradientOf(shift.sizes(), dy),
                 dwords = tableGradient(context, "words", dy),
                 dpositions = tableGradient(context, "positions", dy),
                 dtype = tableGradient(context, "type", dy);
    const NormWeights weights = normWeights(scale, shift, context->saved_data["epsilon"].toDouble(), dy);
    const Tensor dsum = embedBackward(dy, {Tensor(), saved[0], saved[1], saved[2]}, weights, keptKey(context),
                                      dscale, dshift, dtype);
    if (dwords.defined()) addRows(dwords, saved[5], dsum);
    if (dpositions.defined()) addRows(dpositions, saved[6], dsum);
    return {inOwnType(context, "words", dwords),
            inOwnType(context, "positions", dpositions),
            inOwnType(context, "type", dtype),
            {},
            {},
            dscale.to(scale.scalar_type()),
            dshift.to(shift.scalar_type()),
            {},
            {},
            {},
            {}};
  }

 private:
  static void describe(AutogradContext* context, const std::string& name, const Tensor& table) {
    if (!wantsGradient(table)) return;
    context->saved_data[name] = table.sizes().vec();
    context->saved_data[name + " type"] = static_cast<int64_t>(table.scalar_type());
  }
  static Tensor tableGradient(AutogradContext* context, const std::string& name, const Tensor& rows) {
    auto shape = context->saved_data.find(name);
    return shape == context->saved_data.end() ? Tensor() : gradientOf(shape->second.toIntVector(), rows);
  }
  static Tensor inOwnType(AutogradContext* context, const std::string& name, const Tensor& gradient) {
    return gradient.defined()
               ? gradient.to(static_cast<at::ScalarType>(context->saved_data[name + " type"].toInt()))
               : gradient;
  }
};

}  // namespace

void addRowOperators(OperatorLibrary& library) {
  library.add<DropoutFunction, dropoutPlain>("dropout",
                                             "(Tensor x, float p, int seed, int site=0) -> Tensor");
  library.add<NormFunction, normPlain>("norm",
                                       "(Tensor x, Tensor? bias, Tensor? residual, Tensor scale, Tensor "
                                       "shift, float epsilon, float p, int seed, int site=0) -> Tensor");
  library.add<ActivationFunction, activationPlain>("activation",
                                                   "(Tensor x, Tensor bias, str kind) -> Tensor");
  library.add<EmbedFunction, embedPlain>("embed",
                                         "(Tensor words, Tensor positions, Tensor? type, Tensor ids, Tensor "
                                         "places, Tensor scale, Tensor shift, float epsilon, float p, int "
                                         "seed, int site=0) -> Tensor");
}

}  // namespace gradcache::kernels
