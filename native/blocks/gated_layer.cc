#include "blocks/gated_layer.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <any>
#include <cmath>
#include <numeric>
#include <utility>

#include "kernels/dropout/dropout.h"
#include "model/sequence_rows.h"

namespace gradcache {

namespace {

constexpr size_t kStateMatrix = 1;                // among the parameters
constexpr int64_t kCudnnLstm = 2, kCudnnGru = 3;  // cudnnRNNMode_t

// libtorch's graph, from its leaves to its results.
struct LayerTape {
  std::vector<at::Tensor> leaves;   // rows, states before, weights
  std::vector<at::Tensor> results;  // rows, states after
};

// How the operators order packed tokens: by place in their sequences, and in each place the sequences by
// length, longest first.
struct Order {
  at::Tensor sequences;  // int64 [n]
  at::Tensor rows;       // int64 [T]
  at::Tensor running;    // int64 [longest], on the host: how many sequences have a token in that place
};

Order orderOf(const Pass& pass) {
  const auto& offsets = pass.tokens.offsets;
  const auto length = [&](int64_t s) { return offsets[s + 1] - offsets[s]; };
  std::vector<int64_t> sequences(static_cast<size_t>(pass.tokens.sequences())), rows, running;
  std::iota(sequences.begin(), sequences.end(), 0);
  std::stable_sort(sequences.begin(), sequences.end(),
                   [&](int64_t a, int64_t b) { return length(a) > length(b); });
  for (int64_t place = 0; place < pass.tokens.longest; ++place) {
    const size_t before = rows.size();
    for (const int64_t s : sequences) {
      if (length(s) <= place) break;
      rows.push_back(offsets[s] + place);
    }
    running.push_back(static_cast<int64_t>(rows.size() - before));
  }
  const auto tensor = [](const std::vector<int64_t>& values) {
    return at::tensor(at::ArrayRef<int64_t>(values), at::kLong);
  };
  const at::Device device = pass.tokens.deviceOffsets.device();
  return {tensor(sequences).to(device), tensor(rows).to(device), tensor(running)};
}

// The layers of a pass share one.
Order orderOnce(const Pass& pass) {
  static const char sequences = 0, rows = 0, running = 0;
  Order made;
  const auto once = [&](const char* owner, at::Tensor Order::* part) {
    return pass.once(owner, [&] {
      if (!made.rows.defined()) made = orderOf(pass);
      return made.*part;
    });
  };
  return {once(&sequences, &Order::sequences), once(&rows, &Order::rows), once(&running, &Order::running)};
}

at::Tensor inPlaceOf(const at::Tensor& values, const at::Tensor& rows) {
  return at::empty_like(values).index_copy_(0, rows, values);
}

}  // namespace

GatedLayer::GatedLayer(const std::string& name, const Options& options, Builder& builder)
    : options_(options),
      dropout_(builder.dropout(options.dropout)),
      weightDropout_(builder.dropout(options.weightDropout)) {
  const Initial initial = Initial::uniform(1 / std::sqrt(static_cast<double>(options.width)));
  const int64_t columns = gates() * options.width;
  parameters_ = {builder.parameters.add({{name + ".weight_ih", {columns, options.in}, true, initial}}),
                 builder.parameters.add({{name + ".weight_hh", {columns, options.width}, true, initial}}),
                 builder.parameters.add({{name + ".bias_ih", {columns}, false, initial}}),
                 builder.parameters.add({{name + ".bias_hh", {columns}, false, initial}})};
  for (int count = options.kind == Kind::kLstm ? 2 : 1; count > 0; --count)
    states_.push_back(builder.carry(CarriedKind::kState, options.width));
}

std::vector<at::Tensor> GatedLayer::weights(const Pass& pass) const {
  std::vector<at::Tensor> weights;
  for (const ParameterId id : parameters_) weights.push_back(pass.weight(id).detach());
  weights[kStateMatrix] = kernels::dropout(weights[kStateMatrix], weightDropout_.key(pass));
  if (at::cudnn_is_acceptable(weights[0])) {
    // cuDNN wants its weights in one buffer of its own, and warns at every call where they are not.
    for (at::Tensor& weight : weights) weight = weight.clone();
    at::_cudnn_rnn_flatten_weight(weights, static_cast<int64_t>(weights.size()), options_.in,
                                  options_.kind == Kind::kLstm ? kCudnnLstm : kCudnnGru, options_.width,
                                  /*proj_size=*/0, /*num_layers=*/1, /*batch_first=*/false,
                                  /*bidirectional=*/false);
  }
  return weights;
}

std::vector<at::Tensor> GatedLayer::run(const std::vector<at::Tensor>& leaves, const Pass& pass) const {
  constexpr bool train = true;  // one way to run, whether a backward follows or not
  const at::Tensor& running = orderOnce(pass).running;
  const auto states = states_.size();
  const at::TensorList weights(leaves.data() + 1 + states, parameters_.size());
  if (options_.kind == Kind::kLstm) {
    auto [y, h, c] = at::lstm(leaves[0], running, {leaves[1], leaves[2]}, weights, /*has_biases=*/true,
                              /*num_layers=*/1, /*dropout=*/0, train, /*bidirectional=*/false);
    return {y, h, c};
  }
  auto [y, h] = at::gru(leaves[0], running, leaves[1], weights, true, 1, 0, train, false);
  return {y, h};
}

Stream GatedLayer::forward(Stream x, const Pass& pass, Tape* tape) const {
  const bool save = tape != nullptr;
  const Order order = orderOnce(pass);
  LayerTape kept;
  kept.leaves = {x.rows.index_select(0, order.rows)};
  for (const Carry& state : states_) {
    const at::Tensor before = state.before(pass);
    kept.leaves.push_back(before.defined()
                              ? before.to(x.rows.scalar_type()).index_select(0, order.sequences).unsqueeze(0)
                              : at::zeros({1, pass.tokens.sequences(), options_.width}, x.rows.options()));
  }
  for (at::Tensor& weight : weights(pass)) kept.leaves.push_back(std::move(weight));
  {
    // The operators round differently where no graph is recorded, and a pass without one must have the bits
    // of the pass with it.
    const at::AutoGradMode recording(true);
    for (at::Tensor& leaf : kept.leaves) leaf.requires_grad_(true);
    kept.results = run(kept.leaves, pass);
  }
  for (size_t k = 0; k < states_.size(); ++k) {
    const at::Tensor after = kept.results[k + 1].detach().squeeze(0);
    states_[k].setAfter(pass, inPlaceOf(after, order.sequences).to(pass.wideType()));
  }
  at::Tensor y = inPlaceOf(kept.results[0].detach(), order.rows);
  if (save) *tape = std::move(kept);
  return {dropoutOfSequences(y, dropout_.key(pass), pass)};
}

at::Tensor GatedLayer::backward(const at::Tensor& dy, Tape kept, const Pass& pass) const {
  auto tape = std::any_cast<LayerTape>(std::move(kept));
  const Order order = orderOnce(pass);
  const at::Tensor drows = dropoutOfSequences(dy, dropout_.key(pass), pass);
  std::vector<at::Tensor> seeds{drows.index_select(0, order.rows)};
  for (size_t k = 0; k < states_.size(); ++k) {
    const at::Tensor after = states_[k].afterGradient(pass);
    seeds.push_back(after.defined() ? after.to(dy.scalar_type()).index_select(0, order.sequences).unsqueeze(0)
                                    : at::zeros_like(tape.results[k + 1].detach()));
  }
  std::vector<at::Tensor> gradients =
      torch::autograd::grad(std::move(tape.results), tape.leaves, seeds, /*retain_graph=*/false,
                            /*create_graph=*/false, /*allow_unused=*/false);
  for (size_t k = 0; k < states_.size(); ++k)
    states_[k].setBeforeGradient(pass,
                                 inPlaceOf(gradients[k + 1].squeeze(0), order.sequences).to(pass.wideType()));
  for (size_t k = 0; k < parameters_.size(); ++k) {
    at::Tensor gradient = gradients[1 + states_.size() + k];
    if (k == kStateMatrix) gradient = kernels::dropout(gradient, weightDropout_.key(pass));
    if (const at::Tensor& sum = pass.gradient(parameters_[k]); sum.defined()) sum.add_(gradient);
  }
  return inPlaceOf(gradients[0], order.rows);
}

int64_t GatedLayer::tapeBytes(const ChunkSize& chunk) const {
  // The rows in the operators' order, and by measurement so many columns of libtorch's graph.
  const int64_t columns = options_.in + (options_.kind == Kind::kLstm ? 7 : 9) * options_.width;
  return chunk.tokens * columns * chunk.element + chunk.sequences * 2 * options_.width * chunk.wide;
}

}  // namespace gradcache
