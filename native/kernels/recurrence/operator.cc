// The operator gradcache::sru, with its graph.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/operators/library.h"
#include "kernels/recurrence/recurrence.h"

namespace gradcache::kernels {

namespace {

// The settings as the schema spells them.
struct Settings {
  int64_t projections;
  std::string_view direction;
  bool tanhCandidate;
  double skipScale;
  bool maskPerToken;
  DropoutArgument dropout;

  RecurrenceOptions options() const {
    require(projections >= 2 && projections <= 4, "INPUT", "projections = ", projections,
            " must be 2, 3 or 4");
    require(std::isfinite(skipScale), "INPUT", "skip_scale = ", skipScale, " must be a finite number");
    return {projections, directionNamed(direction), tanhCandidate, skipScale, dropout.key(), maskPerToken};
  }
};

void keep(AutogradContext* context, const Settings& settings) {
  auto& data = context->saved_data;
  data["projections"] = settings.projections;
  data["direction"] = std::string(settings.direction);
  data["tanh"] = settings.tanhCandidate;
  data["scale"] = settings.skipScale;
  data["per token"] = settings.maskPerToken;
  keep(context, settings.dropout);
}
RecurrenceOptions keptOptions(AutogradContext* context) {
  auto& data = context->saved_data;
  RecurrenceOptions options{data["projections"].toInt(),
                            directionNamed(data["direction"].toStringRef()),
                            data["tanh"].toBool(),
                            data["scale"].toDouble(),
                            keptKey(context),
                            data["per token"].toBool()};
  return options;
}

// The tokens of a batch that are not padding, packed. Without padding: all of them.
class RealTokens {
 public:
  RealTokens(at::IntArrayRef offsets, const OptionalTensor& padding, const Tensor& rows)
      : packed_(offsets, rows), all_(rows.size(0)) {
    if (!padding.has_value() || !padding->defined()) return;
    require(padding->scalar_type() == at::kBool, "DTYPE", "padding has type ", padding->scalar_type(),
            ", it must be bool");
    require(padding->device() == rows.device(), "DEVICE", "padding is on ", padding->device(),
            ", the rows are on ", rows.device(), ": all must be on the same device");
    require(padding->dim() == 1 && padding->size(0) == all_, "SHAPE", "padding has shape ", padding->sizes(),
            ", it must be [", all_, "], one for each token");
    const Tensor host = padding->cpu().contiguous();
    const bool* pads = host.const_data_ptr<bool>();
    std::vector<int64_t> kept{0}, rowsLeft;
    for (size_t s = 1; s < static_cast<size_t>(offsets.size()); ++s) {
      for (int64_t row = offsets[s - 1]; row < offsets[s]; ++row) {
        if (!pads[row]) rowsLeft.push_back(row);
      }
      kept.push_back(static_cast<int64_t>(rowsLeft.size()));
    }
    numbers_ = at::tensor(at::ArrayRef<int64_t>(rowsLeft), at::kLong).to(rows.device());
    const Tensor onDevice = at::tensor(at::ArrayRef<int64_t>(kept), at::kInt).to(rows.device());
    packed_ = SequencesArgument(std::move(kept), onDevice);
  }
  // As made before.
  RealTokens(SequencesArgument packed, Tensor numbers, int64_t all)
      : packed_(std::move(packed)), numbers_(std::move(numbers)), all_(all) {}

  Sequences sequences() const { return packed_.sequences(); }
  const Tensor& numbers() const { return numbers_; }  // undefined without padding
  Tensor of(const Tensor& rows) const {
    return rows.defined() && numbers_.defined() ? rows.index_select(0, numbers_) : rows;
  }
  // Back among the padding, whose rows are 0.
  Tensor spread(const Tensor& rows) const {
    if (!rows.defined() || !numbers_.defined()) return rows;
    return at::zeros({all_, rows.size(1)}, rows.options()).index_copy_(0, numbers_, rows);
  }

 private:
  SequencesArgument packed_;
  Tensor numbers_{};
  int64_t all_;
};

struct SruArguments {
  RecurrenceOptions options;
  RealTokens tokens;
  RecurrenceInputs inputs;
};

SruArguments sruArguments(const Tensor& u, at::IntArrayRef offsets, const OptionalTensor& skip,
                          const OptionalTensor& cellWeights, const OptionalTensor& bias,
                          const OptionalTensor& state, const OptionalTensor& padding,
                          const Settings& settings) {
  const Tensor rows = rowsArgument("u", u);
  const RecurrenceOptions options = settings.options();
  const int64_t ways = options.direction == Direction::kBoth ? 2 : 1, k = options.projections;
  require(rows.size(1) % (k * ways) == 0, "SHAPE", "u has ", rows.size(1), " columns, which are not ", k,
          " projections", ways == 2 ? " of two directions" : "");
  const int64_t width = rows.size(1) / k, gates = std::min<int64_t>(k - 1, 2);
  const bool ownSkip = skip.has_value() && skip->defined();
  require(!ownSkip || k == 3, "INPUT",
          "skip goes with three projections; with two there is no reset gate for ",
          "it, with four it is the fourth");
  require(options.skipScale == 1 || ownSkip || k == 4, "INPUT", "skip_scale = ", options.skipScale,
          " has nothing to scale: give a skip");
  require(!options.maskPerToken || options.mask.active(), "INPUT",
          "mask_per_token needs a share to drop, p above 0");
  RealTokens tokens(offsets, padding, rows);
  const int64_t count = static_cast<int64_t>(tokens.sequences().offsets.size()) - 1;
  Tensor x;
  if (ownSkip) {
    require(skip->dim() == 2 && skip->size(0) == rows.size(0) && skip->size(1) == width, "SHAPE",
            "skip has shape ", skip->sizes(), ", it must be [", rows.size(0), ", ", width, "]");
    x = parameterArgument("skip", *skip, rows, {rows.size(0), width});
  }
  RecurrenceInputs inputs{tokens.of(rows), tokens.of(x),
                          parameterArgument("cell_weights", cellWeights, rows, {gates, width}),
                          parameterArgument("bias", bias, rows, {gates, width}),
                          wideArgument("state", state, rows, {count, width})};
  return {options, std::move(tokens), std::move(inputs)};
}

std::tuple<Tensor, Tensor> sruPlain(const Tensor& u, at::IntArrayRef offsets, const OptionalTensor& skip,
                                    const OptionalTensor& cellWeights, const OptionalTensor& bias,
                                    const OptionalTensor& state, const OptionalTensor& padding,
                                    int64_t projections, std::string_view direction, bool tanhCandidate,
                                    double skipScale, bool maskPerToken, double p, int64_t seed,
                                    int64_t site) {
  const SruArguments a =
      sruArguments(u, offsets, skip, cellWeights, bias, state, padding,
                   {projections, direction, tanhCandidate, skipScale, maskPerToken, {p, seed, site}});
  const Recurrence result = recurrence(a.inputs, a.tokens.sequences(), a.options, /*save=*/false);
  return {a.tokens.spread(result.h), result.last};
}

struct SruFunction : Function<SruFunction> {
  static variable_list forward(AutogradContext* context, const Tensor& u, at::IntArrayRef offsets,
                               const OptionalTensor& skip, const OptionalTensor& cellWeights,
                               const OptionalTensor& bias, const OptionalTensor& state,
                               const OptionalTensor& padding, int64_t projections, std::string_view direction,
                               bool tanhCandidate, double skipScale, bool maskPerToken, double p,
                               int64_t seed, int64_t site) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const Settings settings{projections, direction, tanhCandidate, skipScale, maskPerToken, {p, seed, site}};
    const SruArguments a = sruArguments(u, offsets, skip, cellWeights, bias, state, padding, settings);
    const Sequences sequences = a.tokens.sequences();
    const Recurrence result = recurrence(a.inputs, sequences, a.options, /*save=*/true);
    keep(context, settings);
    context->saved_data["offsets"] = sequences.offsets;
    context->saved_data["tokens"] = u.size(0);
    context->save_for_backward({a.inputs.u, a.inputs.skip, orUndefined(cellWeights), orUndefined(bias),
                                a.inputs.state, result.cells, sequences.deviceOffsets, a.tokens.numbers()});
    return {a.tokens.spread(result.h), result.last};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const Tensor dh = incoming(gradients), dlast = incoming(gradients, 1);
    const variable_list saved = context->get_saved_variables();
    const Tensor &cellWeights = saved[2], &bias = saved[3];
    const RealTokens tokens(SequencesArgument(context->saved_data["offsets"].toIntVector(), saved[6]),
                            saved[7], context->saved_data["tokens"].toInt());
    const auto parameter = [&](const char* name, const Tensor& given) {
      return given.defined() ? parameterArgument(name, given, saved[0], given.sizes()) : Tensor();
    };
    const auto zeros = [&](const Tensor& given) {
      return wantsGradient(given) ? gradientOf(given.sizes(), dh) : Tensor();
    };
    const auto inTypeOf = [](const Tensor& gradient, const Tensor& given) {
      return gradient.defined() ? gradient.to(given.scalar_type()) : gradient;
    };
    const Tensor dcellWeights = zeros(cellWeights), dbias = zeros(bias);
    const RecurrenceInputs inputs{saved[0], saved[1], parameter("cell_weights", cellWeights),
                                  parameter("bias", bias), saved[4]};
    const RecurrenceGradients result =
        recurrenceBackward(tokens.of(dh), dlast, inputs, {{}, saved[5], {}}, tokens.sequences(),
                           keptOptions(context), dcellWeights, dbias);
    return {tokens.spread(result.u),
            {},
            tokens.spread(result.skip),
            inTypeOf(dcellWeights, cellWeights),
            inTypeOf(dbias, bias),
            saved[4].defined() ? result.state : Tensor(),
            {},
            {},
            {},
            {},
            {},
            {},
            {},
            {},
            {}};
  }
};

}  // namespace

void addSruOperator(OperatorLibrary& library) {
  library.add<SruFunction, sruPlain>(
      "sru",
      "(Tensor u, int[] offsets, Tensor? skip=None, Tensor? cell_weights=None, Tensor? bias=None, Tensor? "
      "state=None, Tensor? padding=None, *, int projections=3, str direction=\"forward\", bool "
      "tanh_candidate=False, float skip_scale=1, bool mask_per_token=False, float p=0, int seed=0, int "
      "site=0) -> (Tensor h, Tensor last)");
}

}  // namespace gradcache::kernels
