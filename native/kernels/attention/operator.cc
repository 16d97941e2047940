// The operator gradcache::attention, with its graph.
#include "core/error.h"
#include "kernels/attention/attention.h"
#include "kernels/operators/library.h"

namespace gradcache::kernels {

namespace {

struct AttentionArguments {
  Tensor qkv, distanceBias;
  SequencesArgument packed;
  DropoutKey key;
};

AttentionArguments attentionArguments(const Tensor& qkv, at::IntArrayRef offsets, int64_t heads,
                                      const OptionalTensor& distanceBias, const DropoutArgument& dropout) {
  const Tensor rows = rowsArgument("qkv", qkv);
  require(heads > 0 && rows.size(1) % 3 == 0 && rows.size(1) / 3 % heads == 0, "SHAPE", "qkv has ",
          rows.size(1), " columns, which are not queries, keys and values of ", heads, " heads");
  SequencesArgument packed(offsets, rows);
  const int64_t distances = 2 * packed.sequences().longest - 1;
  return {rows, parameterArgument("distance_bias", distanceBias, rows, {heads, distances}), packed,
          dropout.key()};
}

Tensor attentionPlain(const Tensor& qkv, at::IntArrayRef offsets, int64_t heads,
                      const OptionalTensor& distanceBias, double p, int64_t seed, int64_t site) {
  const AttentionArguments a = attentionArguments(qkv, offsets, heads, distanceBias, {p, seed, site});
  return attention(a.qkv, a.packed.sequences(), heads, a.distanceBias, a.key).out;
}

struct AttentionFunction : Function<AttentionFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& qkv, at::IntArrayRef offsets, int64_t heads,
                        const OptionalTensor& distanceBias, double p, int64_t seed, int64_t site) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const AttentionArguments a = attentionArguments(qkv, offsets, heads, distanceBias, {p, seed, site});
    const Sequences sequences = a.packed.sequences();
    Attention result = attention(a.qkv, sequences, heads, a.distanceBias, a.key);
    keep(context, {p, seed, site});
    context->saved_data["heads"] = heads;
    context->saved_data["offsets"] = sequences.offsets;
    context->saved_data["distances"] = wantsGradient(orUndefined(distanceBias));
    context->save_for_backward({a.qkv, result.out, result.normalizer, result.randomState, result.randomUnused,
                                orUndefined(distanceBias), sequences.deviceOffsets});
    return result.out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const Tensor dout = incoming(gradients);
    const variable_list saved = context->get_saved_variables();
    const Tensor &qkv = saved[0], &bias = saved[5];
    const SequencesArgument packed(context->saved_data["offsets"].toIntVector(), saved[6]);
    const bool distances = context->saved_data["distances"].toBool();
    const Tensor dbias = distances ? gradientOf(bias.sizes(), dout) : Tensor();
    const Tensor given =
        bias.defined() ? parameterArgument("distance_bias", bias, qkv, bias.sizes()) : Tensor();
    Tensor dqkv = attentionBackward(dout, qkv, {saved[1], saved[2], saved[3], saved[4]}, packed.sequences(),
                                    context->saved_data["heads"].toInt(), given, keptKey(context), dbias);
    return {dqkv, {}, {}, distances ? dbias.to(bias.scalar_type()) : Tensor(), {}, {}, {}};
  }
};

}  // namespace

void addAttentionOperator(OperatorLibrary& library) {
  library.add<AttentionFunction, attentionPlain>("attention",
                                                 "(Tensor qkv, int[] offsets, int heads, Tensor? "
                                                 "distance_bias, float p, int seed, int site=0) -> Tensor");
}

}  // namespace gradcache::kernels
