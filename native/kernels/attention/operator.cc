// The operator gradcache::attention, with its graph.
#include <cmath>
#include <optional>

#include "core/error.h"
#include "kernels/attention/attention.h"
#include "kernels/operators/library.h"

namespace gradcache::kernels {

namespace {

// The optional arguments that say how queries meet keys.
struct FormArgument {
  std::optional<int64_t> keyHeads;
  std::optional<double> scale;
  bool causal;
  std::optional<int64_t> window;
  double softCap;
  at::OptionalIntArrayRef keys;

  AttentionForm form(int64_t columns, int64_t heads) const {
    const int64_t keys = keyHeads.value_or(heads);
    require(heads > 0 && keys > 0 && heads % keys == 0, "SHAPE", heads, " heads of queries and ", keys,
            " of keys: every head of keys must serve as many heads of queries");
    require(columns % (heads + 2 * keys) == 0, "SHAPE", "qkv has ", columns,
            " columns, which are not queries, keys and values of ", heads, " heads",
            keys == heads ? "" : " with fewer heads of keys");
    AttentionForm form = AttentionForm::plain(heads, columns / (heads + 2 * keys));
    form.keyHeads = keys;
    form.scale = scale.value_or(form.scale);
    form.causal = causal;
    form.window = window.value_or(AttentionForm::kUnlimited);
    form.softCap = softCap;
    require(std::isfinite(form.scale) && form.scale > 0, "INPUT", "scale = ", form.scale,
            " must be a finite number above 0");
    require(form.window >= 0 && form.window <= AttentionForm::kUnlimited, "INPUT", "window = ", form.window,
            " must be a number of tokens, at least 0");
    require(std::isfinite(softCap) && softCap >= 0, "INPUT", "soft_cap = ", softCap,
            " must be a finite number, or 0 for none");
    return form;
  }
};

struct AttentionArguments {
  Tensor qkv, distanceBias;
  AttentionForm form;
  SequencesArgument packed;
  DropoutKey key;
};

AttentionArguments attentionArguments(const Tensor& qkv, at::IntArrayRef offsets, int64_t heads,
                                      const OptionalTensor& distanceBias, const DropoutArgument& dropout,
                                      const FormArgument& given) {
  const Tensor rows = rowsArgument("qkv", qkv);
  const AttentionForm form = given.form(rows.size(1), heads);
  SequencesArgument packed(offsets, rows);
  if (given.keys) packed.attendTo(*given.keys);
  const int64_t distances = 2 * packed.sequences().longest - 1;
  const Tensor bias = parameterArgument("distance_bias", distanceBias, rows, {heads, distances});
  require(!bias.defined() || (form.softCap == 0 && form.seesAll(packed.sequences().longest)), "INPUT",
          "distance_bias has no place beside causal, window or soft_cap");
  return {rows, bias, form, packed, dropout.key()};
}

HeadRows rowsOf(const Tensor& qkv, const AttentionForm& form) {
  return HeadRows::in(qkv, form.keyHeads * form.size);
}

Tensor attentionPlain(const Tensor& qkv, at::IntArrayRef offsets, int64_t heads,
                      const OptionalTensor& distanceBias, double p, int64_t seed, int64_t site,
                      std::optional<int64_t> keyHeads, std::optional<double> scale, bool causal,
                      std::optional<int64_t> window, double softCap, at::OptionalIntArrayRef keys) {
  const AttentionArguments a = attentionArguments(qkv, offsets, heads, distanceBias, {p, seed, site},
                                                  {keyHeads, scale, causal, window, softCap, keys});
  return attention(rowsOf(a.qkv, a.form), a.packed.sequences(), a.form, a.distanceBias, a.key).out;
}

struct AttentionFunction : Function<AttentionFunction> {
  static Tensor forward(AutogradContext* context, const Tensor& qkv, at::IntArrayRef offsets, int64_t heads,
                        const OptionalTensor& distanceBias, double p, int64_t seed, int64_t site,
                        std::optional<int64_t> keyHeads, std::optional<double> scale, bool causal,
                        std::optional<int64_t> window, double softCap, at::OptionalIntArrayRef keys) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const AttentionArguments a = attentionArguments(qkv, offsets, heads, distanceBias, {p, seed, site},
                                                    {keyHeads, scale, causal, window, softCap, keys});
    const Sequences sequences = a.packed.sequences();
    Attention result = attention(rowsOf(a.qkv, a.form), sequences, a.form, a.distanceBias, a.key);
    keep(context, {p, seed, site});
    context->saved_data["heads"] = heads;
    context->saved_data["keyHeads"] = a.form.keyHeads;
    context->saved_data["scale"] = a.form.scale;
    context->saved_data["causal"] = causal;
    context->saved_data["window"] = a.form.window;
    context->saved_data["softCap"] = softCap;
    context->saved_data["keys"] = keys ? keys->vec() : std::vector<int64_t>();
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
    auto& data = context->saved_data;
    const FormArgument given{data["keyHeads"].toInt(), data["scale"].toDouble(),   data["causal"].toBool(),
                             data["window"].toInt(),   data["softCap"].toDouble(), {}};
    SequencesArgument packed(data["offsets"].toIntVector(), saved[6]);
    if (const auto keys = data["keys"].toIntVector(); !keys.empty()) packed.attendTo(keys);
    const bool distances = data["distances"].toBool();
    const Tensor dbias = distances ? gradientOf(bias.sizes(), dout) : Tensor();
    const Tensor narrowBias =
        bias.defined() ? parameterArgument("distance_bias", bias, qkv, bias.sizes()) : Tensor();
    const AttentionForm form = given.form(qkv.size(1), data["heads"].toInt());
    Tensor dqkv = attentionBackward(dout, rowsOf(qkv, form), {saved[1], saved[2], saved[3], saved[4]},
                                    packed.sequences(), form, narrowBias, keptKey(context), dbias);
    return {dqkv, {}, {}, distances ? dbias.to(bias.scalar_type()) : Tensor(), {}, {}, {}, {}, {}, {},
            {},   {}, {}};
  }
};

}  // namespace

void addAttentionOperator(OperatorLibrary& library) {
  library.add<AttentionFunction, attentionPlain>(
      "attention",
      "(Tensor qkv, int[] offsets, int heads, Tensor? distance_bias, float p, int seed, int site=0, int? "
      "key_heads=None, float? scale=None, bool causal=False, int? window=None, float soft_cap=0, int[]? "
      "keys=None) -> Tensor");
}

}  // namespace gradcache::kernels
