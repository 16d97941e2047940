#include "language/language_model.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/dtype.h"
#include "core/error.h"
#include "language/recurrent_layers.h"

namespace gradcache {

namespace {

// Names of a cluster's parameters: with one cluster, there is no number.
std::string part(const std::string& owner, size_t cluster, const std::vector<Cluster>& clusters) {
  return clusters.size() == 1 ? owner : owner + "." + std::to_string(cluster);
}

// The vectors of a cluster start with length one (Lei 2021), unless the settings say from where to where.
Initial vectorInitial(const Settings& settings, int64_t width) {
  const double range = settings.number("initialRange");
  return Initial::uniform(range > 0 ? range : std::sqrt(3.0 / static_cast<double>(width)));
}

// `owner` is embedding or output; rows of the model have this width. `more` is added to the first matrix.
WordMatrices declare(const std::string& owner, const std::vector<Cluster>& clusters, int64_t width,
                     const std::vector<ParameterSpec>& more, const Settings& settings, Builder& builder) {
  WordMatrices matrices;
  for (size_t k = 0; k < clusters.size(); ++k) {
    const Cluster& cluster = clusters[k];
    const std::string name = part(owner, k, clusters);
    std::vector<ParameterSpec> joined{
        {name + ".weight", {cluster.size, cluster.width}, true, vectorInitial(settings, cluster.width)}};
    if (k == 0) joined.insert(joined.end(), more.begin(), more.end());
    matrices.vectors.push_back(builder.parameters.add(std::move(joined)));
    matrices.projections.emplace_back();
    if (cluster.width != width) {
      matrices.projections.back() = builder.parameters.add({{name + ".projection.weight",
                                                             {width, cluster.width},
                                                             true,
                                                             Initial::xavier(cluster.width, width)}});
    }
  }
  return matrices;
}

}  // namespace

LanguageModel::LanguageModel(const Settings& settings, at::ScalarType compute, at::Device device)
    : compute_(compute), device_(device), clusters_(clustersFrom(settings)), penalties_(settings) {
  Builder builder({});
  const int64_t inner = settings.size("width");
  const bool tied = settings.truth("tied"), tiedProjections = settings.truth("tiedProjections");
  const auto others = static_cast<int64_t>(clusters_.size()) - 1;
  std::vector<ParameterSpec> clusterVectors;
  if (others > 0)
    clusterVectors.push_back({"output.clusters.weight",
                              {others, clusters_[0].width},
                              true,
                              vectorInitial(settings, clusters_[0].width)});

  WordMatrices input = declare("embedding", clusters_, inner,
                               tied ? clusterVectors : std::vector<ParameterSpec>{}, settings, builder);
  embedding_.emplace(clusters_, input, inner, settings, builder);
  width_ = addRecurrentLayers(inner, settings, builder);
  outputDropout_.emplace(settings.number("outputDropout"), settings.truth("sharedMasks"), builder);

  WordMatrices output;
  if (!tied) {
    output = declare("output", clusters_, width_, clusterVectors, settings, builder);
  } else {
    output.vectors = input.vectors;
    require(!tiedProjections || width_ == inner, "CHECKPOINT", "rows of ", width_,
            " columns leave the last layer, and rows of ", inner,
            " enter the first: their projections cannot be tied");
    for (size_t k = 0; k < clusters_.size(); ++k) {
      if (tiedProjections || clusters_[k].width == width_) {
        output.projections.push_back(clusters_[k].width == width_ ? std::nullopt : input.projections[k]);
      } else {
        const int64_t width = clusters_[k].width;
        output.projections.push_back(
            builder.parameters.add({{part("output", k, clusters_) + ".projection.weight",
                                     {width_, width},
                                     true,
                                     Initial::xavier(width_, width)}}));
      }
    }
  }
  std::vector<ParameterId> biases;
  if (settings.truth("bias")) {
    for (size_t k = 0; k < clusters_.size(); ++k) {
      std::vector<ParameterSpec> joined{{part("output", k, clusters_) + ".bias", {clusters_[k].size}, false}};
      if (k == 0 && others > 0) joined.push_back({"output.clusters.bias", {others}, false});
      biases.push_back(builder.parameters.add(std::move(joined)));
    }
  }
  head_.emplace(clusters_, std::move(output), std::move(biases), settings.number("adversarialNoise"));
  settings.requireAllRead();
  blocks_ = std::move(builder.blocks);
  slots_ = std::move(builder.carried);
  parameters_ = std::make_shared<Parameters>(std::move(builder.parameters), compute, device);
}

void LanguageModel::check(const Segment& segment) const {
  const auto tokens = static_cast<int64_t>(segment.inputs.size());
  require(segment.rows > 0 && tokens > 0, "INPUT", "a segment needs at least one row and one token");
  require(tokens % segment.rows == 0, "SHAPE", "a segment has ", tokens, " tokens, which ", segment.rows,
          " rows cannot share");
  require(segment.memory >= 0 && segment.window >= 0, "INPUT", "a memory of ", segment.memory,
          " tokens and a window of ", segment.window, " cannot be");
  require(segment.targets.empty() || segment.targets.size() == segment.inputs.size(), "SHAPE",
          "a segment has ", tokens, " tokens and ", segment.targets.size(),
          " targets; one for each token is needed");
  const int64_t vocabulary = clusters_.back().first + clusters_.back().size;
  for (size_t t = 0; t < segment.targets.size(); ++t) {
    require(segment.targets[t] >= -1 && segment.targets[t] < vocabulary, "INPUT", "target ",
            segment.targets[t], " at place ", t, " of the segment is outside the vocabulary of ", vocabulary);
  }
  const SegmentState& before = segment.before;
  checkSlots("state", before.state, CarriedKind::kState, segment.rows);
  checkSlots("memory", before.memory, CarriedKind::kMemory, segment.rows);
  require(before.remembered.empty() || static_cast<int64_t>(before.remembered.size()) == segment.rows,
          "SHAPE", before.remembered.size(), " lengths of memory for ", segment.rows, " rows");
  // The layers of a pass share what their attention does not see.
  const int64_t longest = before.memory.empty() ? 0 : before.memory[0].size(1);
  for (size_t k = 1; k < before.memory.size(); ++k) {
    require(before.memory[k].size(1) == longest, "SHAPE", "memory[", k, "] has ", before.memory[k].size(1),
            " tokens, memory[0] has ", longest);
  }
  for (size_t row = 0; row < before.remembered.size(); ++row) {
    require(before.remembered[row] >= 0 && before.remembered[row] <= longest, "INPUT", "row ", row,
            " remembers ", before.remembered[row], " tokens of a memory of ", longest);
  }
}

void LanguageModel::checkSlots(const char* what, const std::vector<at::Tensor>& tensors, CarriedKind kind,
                               int64_t rows) const {
  const bool constant = kind == CarriedKind::kMemory;
  const at::ScalarType type = constant ? compute_ : stateType();
  std::vector<int64_t> widths;
  for (const CarriedSlot& slot : slots_) {
    if (slot.kind == kind) widths.push_back(slot.width);
  }
  require(tensors.size() == widths.size(), "SHAPE", "a ", what, " of ", tensors.size(),
          " tensors was given to a model that has ", widths.size());
  for (size_t k = 0; k < widths.size(); ++k) {
    const at::Tensor& tensor = tensors[k];
    const bool fits =
        tensor.dim() == (constant ? 3 : 2) && tensor.size(0) == rows && tensor.size(-1) == widths[k];
    require(fits, "SHAPE", what, "[", k, "] has shape ", tensor.sizes(), ", [", rows,
            constant ? ", tokens, " : ", ", widths[k], "] is needed");
    require(tensor.scalar_type() == type, "DTYPE", what, "[", k, "] is ", dtypeName(tensor.scalar_type()),
            ", the model's is ", dtypeName(type));
    require(tensor.device() == device_, "DEVICE", what, "[", k, "] is on ", tensor.device().str(),
            ", the model on ", device_.str());
  }
}

std::shared_ptr<const Pass> LanguageModel::pass(const Segment& segment, uint64_t seed, bool dropout) const {
  check(segment);
  const int64_t length = static_cast<int64_t>(segment.inputs.size()) / segment.rows;
  std::vector<int32_t> offsets, rows;
  for (int64_t row = 0; row <= segment.rows; ++row) offsets.push_back(static_cast<int32_t>(row * length));
  for (int64_t row = 0; row < segment.rows; ++row) rows.push_back(static_cast<int32_t>(row));
  const TokenRules rules{clusters_.back().first + clusters_.back().size, std::numeric_limits<int32_t>::max()};
  PackedTokens tokens = TokenBatch(segment.inputs, std::move(offsets), {}, rules)
                            .pack(rows, segment.rows * length, device_.is_cuda());
  tokens.moveTo(device_);
  auto carried = std::make_shared<Carried>(slots_.size());
  carried->memory = segment.memory;
  carried->window = segment.window;
  carried->remembered = segment.before.remembered;
  size_t state = 0, memory = 0;
  for (size_t k = 0; k < slots_.size(); ++k) {
    carried->before[k] = slots_[k].kind == CarriedKind::kState ? segment.before.state[state++]
                                                               : segment.before.memory[memory++];
  }
  return std::make_shared<const Pass>(
      Pass{std::move(tokens), parameters_, seed, dropout, parameters_->version(), std::move(carried)});
}

Stream LanguageModel::walk(const ClusteredIds& ids, const Pass& pass, std::vector<Tape>* tapes) const {
  Stream stream{embedding_->forward(ids, pass)};
  if (tapes != nullptr) tapes->resize(blocks_.size());
  for (size_t k = 0; k < blocks_.size(); ++k)
    stream =
        blocks_[k].block->forward(std::move(stream), pass, tapes == nullptr ? nullptr : &(*tapes)[k]).added();
  return stream;
}

SegmentState LanguageModel::after(const Segment& segment, const Pass& pass) const {
  SegmentState after;
  const int64_t length = pass.tokens.tokens() / segment.rows;
  for (size_t k = 0; k < slots_.size(); ++k) {
    const bool constant = slots_[k].kind == CarriedKind::kMemory;
    const at::Tensor& slot = pass.carried->after[k];
    if (!constant) {
      after.state.push_back(slot);
    } else {
      after.memory.push_back(slot.defined() ? slot
                                            : at::empty({segment.rows, 0, slots_[k].width},
                                                        at::TensorOptions().dtype(compute_).device(device_)));
    }
  }
  if (after.memory.empty()) return after;
  for (int64_t row = 0; row < segment.rows; ++row) {
    const int64_t before =
        segment.before.remembered.empty() ? segment.before.memory[0].size(1) : segment.before.remembered[row];
    after.remembered.push_back(std::min(before + length, after.memory[0].size(1)));
  }
  return after;
}

SegmentResult LanguageModel::forward(Segment segment, uint64_t seed, Mode mode) const {
  const c10::DeviceGuard onDevice(device_);
  const at::AutoGradMode recording(false);
  if (segment.targets.empty()) segment.targets.assign(segment.inputs.size(), -1);
  const std::shared_ptr<const Pass> pass = this->pass(segment, seed, mode != Mode::kInference);
  ClusteredIds inputs = sortedOut(segment.inputs, clusters_, device_);
  ClusteredIds targets = sortedOut(segment.targets, clusters_, device_);
  const auto graph = mode == Mode::kWithGraph ? std::make_shared<SegmentGraph>() : nullptr;
  Stream output = walk(inputs, *pass, graph ? &graph->tapes_ : nullptr);
  std::vector<at::Tensor> normalizers;
  SegmentResult result;
  const at::Tensor dropped = outputDropout_->apply(output.rows, *pass);
  result.losses = head_->losses(dropped, targets, *pass, normalizers);
  result.loss = result.losses.sum(at::kDouble).item<double>();
  if (penalties_.any() && mode != Mode::kInference)
    result.penalty = penalties_.value(output.rows, dropped, segment.rows);
  result.after = after(segment, *pass);
  if (!graph) return result;
  graph->model_ = shared_from_this();
  graph->pass_ = pass;
  graph->inputs_ = std::move(inputs);
  graph->targets_ = std::move(targets);
  graph->output_ = output.kept();
  graph->normalizers_ = std::move(normalizers);
  result.graph = graph;
  return result;
}

std::pair<std::vector<int32_t>, SegmentState> LanguageModel::next(Segment segment, const Sampling& sampling,
                                                                  const std::vector<double>& numbers) const {
  const c10::DeviceGuard onDevice(device_);
  const at::AutoGradMode recording(false);
  const std::shared_ptr<const Pass> pass = this->pass(segment, 0, /*dropout=*/false);
  const at::Tensor rows = walk(sortedOut(segment.inputs, clusters_, device_), *pass, nullptr).rows;
  const at::Tensor last = rows.view({segment.rows, -1, width_}).select(1, -1);
  return {drawTokens(head_->logProbabilities(last, *pass), sampling, numbers), after(segment, *pass)};
}

int64_t LanguageModel::graphBytes(int64_t rows, int64_t length) const {
  const ChunkSize chunk{rows * length, rows, static_cast<int64_t>(c10::elementSize(compute_)),
                        compute_ == at::kDouble ? 8 : 4};
  // Word ids and places of inputs and targets, and the normalizers of at most two softmaxes a token.
  int64_t bytes = chunk.tokens * (8 * 8 + 2 * chunk.wide);
  for (const BuiltBlock& built : blocks_) bytes += built.block->tapeBytes(chunk);
  return bytes;
}

std::vector<at::Tensor> SegmentGraph::backward(double seed, std::vector<at::Tensor> stateGradient) {
  require(pass_ != nullptr, "INPUT", "this segment's graph was already used for a backward and is gone");
  pass_->requireSameWeights();
  if (!stateGradient.empty())
    model_->checkSlots("state gradient", stateGradient, CarriedKind::kState, pass_->tokens.sequences());
  const c10::DeviceGuard onDevice(model_->device_);
  const at::AutoGradMode recording(false);
  const std::shared_ptr<const Pass> pass = std::exchange(pass_, nullptr);
  const std::shared_ptr<const LanguageModel> model = model_;
  const std::vector<CarriedSlot>& slots = model->slots_;
  for (size_t k = 0, next = 0; k < slots.size() && !stateGradient.empty(); ++k) {
    if (slots[k].kind == CarriedKind::kState)
      pass->carried->afterGradient[k] = std::move(stateGradient[next++]);
  }
  const int64_t sequences = pass->tokens.sequences();
  at::Tensor gradient;
  {
    const at::Tensor output = output_.recalled();
    const at::Tensor dropped = model->outputDropout_->apply(output, *pass);
    gradient = model->head_->backward(seed, dropped, targets_, *pass, normalizers_);
    if (model->penalties_.any()) {
      // What the two ends of the dropout get meets before the last block.
      at::Tensor ahead = at::zeros_like(gradient);
      model->penalties_.addGradients(seed, output, ahead, dropped, gradient, sequences);
      gradient = model->outputDropout_->apply(gradient, *pass).add(ahead);
    } else {
      gradient = model->outputDropout_->apply(gradient, *pass);
    }
  }
  output_ = {};
  for (size_t k = tapes_.size(); k-- > 0;)
    gradient = model->blocks_[k].block->backward(gradient, std::move(tapes_[k]), *pass);
  model->embedding_->backward(gradient, inputs_, *pass);

  std::vector<at::Tensor> before;
  for (size_t k = 0; k < slots.size(); ++k) {
    if (slots[k].kind != CarriedKind::kState) continue;
    at::Tensor slot = pass->carried->beforeGradient[k];
    before.push_back(slot.defined() ? slot : at::zeros_like(pass->carried->before[k]));
  }
  return before;
}

}  // namespace gradcache
