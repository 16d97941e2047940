// The operator gradcache::embed, with its graph.
#include "kernels/embedding/embedding.h"
#include "kernels/operators/library.h"
#include "kernels/rows/rows.h"

namespace gradcache::kernels {

namespace {

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
    // Backward needs only the shapes of the tables.
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

void addEmbedOperator(OperatorLibrary& library) {
  library.add<EmbedFunction, embedPlain>("embed",
                                         "(Tensor words, Tensor positions, Tensor? type, Tensor ids, Tensor "
                                         "places, Tensor scale, Tensor shift, float epsilon, float p, int "
                                         "seed, int site=0) -> Tensor");
}

}  // namespace gradcache::kernels
