#include "encoders/encoder.h"

#include <utility>

#include "core/error.h"
#include "core/recorded.h"
#include "encoders/distance_bias.h"
#include "kernels/embedding/embedding.h"
#include "kernels/pool/pool.h"
#include "kernels/rows/rows.h"

namespace gradcache {

namespace {

kernels::Activation activationNamed(const std::string& name) {
  if (name == "gelu") return kernels::Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return kernels::Activation::kGeluTanh;
  if (name == "relu") return kernels::Activation::kRelu;
  fail("CHECKPOINT", "activation '", name,
       "' is not supported; gelu, gelu_new, gelu_pytorch_tanh and relu are");
}

kernels::Pooling poolingNamed(const std::string& name) {
  if (name == "mean") return kernels::Pooling::kMean;
  if (name == "cls") return kernels::Pooling::kCls;
  if (name == "max") return kernels::Pooling::kMax;
  if (name == "last") return kernels::Pooling::kLast;
  fail("CHECKPOINT", "pooling '", name, "' is not supported; mean, cls, max and last are");
}

std::string denseName(size_t index) { return "dense." + std::to_string(index); }

// More than any model has; lib/encoders/architecture.ts says so by the key of config.json.
constexpr int64_t kMostLayers = 4096;

// Places that drop out, under one chunk's seed.
constexpr uint64_t kEmbeddingSite = 0;
uint64_t layerSite(int64_t layer, uint64_t place) { return 1 + 3 * static_cast<uint64_t>(layer) + place; }

}  // namespace

struct Pass {
  PackedTokens tokens;
  std::shared_ptr<Parameters> parameters;
  int64_t version = 0;

  kernels::Sequences sequences() const { return {tokens.offsets, tokens.deviceOffsets, tokens.longest}; }
  void requireSameWeights() const {
    require(parameters->version() == version, "INPUT",
            "the weights were changed between a chunk's forward and its backward: its gradient would belong "
            "to neither");
  }
};

Encoder::Encoder(EncoderConfig config, at::ScalarType compute, at::Device device)
    : config_(std::move(config)),
      architecture_(architectureNamed(config_.architecture)),
      compute_(compute),
      device_(device) {
  require(compute == at::kFloat || compute == at::kDouble || compute == at::kBFloat16, "DTYPE",
          "an encoder computes in float32, float64 or bfloat16");
  for (int64_t size : {config_.layers, config_.hidden, config_.heads, config_.vocabulary, config_.positions,
                       config_.intermediate})
    require(size > 0, "CHECKPOINT", "the encoder's sizes must be positive, got ", size);
  // The table of parameters takes memory before any tensor asks for its own.
  require(config_.layers <= kMostLayers && config_.dense.size() <= kMostLayers, "CHECKPOINT", config_.layers,
          " layers and ", config_.dense.size(), " dense ones: an encoder has at most ", kMostLayers,
          " of each");
  require(config_.hidden % config_.heads == 0, "CHECKPOINT", "hidden size ", config_.hidden,
          " is not a multiple of ", config_.heads, " heads");
  for (double dropout : {config_.hiddenDropout, config_.attentionDropout}) {
    require(DropoutKey::possible(dropout), "INPUT", "dropout ", dropout, " is not in [0, 0.99999]");
  }
  activationNamed(config_.activation);
  poolingNamed(config_.pooling);
  std::vector<ParameterSpec> specs;
  describeParameters(specs);
  parameters_ = std::make_shared<Parameters>(std::move(specs),
                                             compute == at::kDouble ? at::kDouble : at::kFloat, device);
}

void Encoder::describeParameters(std::vector<ParameterSpec>& specs) const {
  const int64_t hidden = config_.hidden;
  auto matrix = [&](const std::string& name, int64_t rows, int64_t columns) {
    specs.push_back({name + ".weight", {rows, columns}});
  };
  auto bias = [&](const std::string& name, int64_t size) {
    specs.push_back({name + ".bias", {size}, false});
  };
  auto norm = [&](const std::string& name) {
    specs.push_back({name + ".weight", {hidden}, false});
    specs.push_back({name + ".bias", {hidden}, false});
  };
  matrix(architecture_.words, config_.vocabulary, hidden);
  matrix(architecture_.positions, config_.positions, hidden);
  if (!architecture_.types.empty()) matrix(architecture_.types, config_.types, hidden);
  norm(architecture_.norm);
  if (!architecture_.distanceBias.empty())
    matrix(architecture_.distanceBias, config_.relativeBuckets, config_.heads);
  for (int64_t k = 0; k < config_.layers; ++k) {
    const LayerNames names = architecture_.layer(k);
    matrix(names.query, hidden, hidden);
    specs.push_back({names.key + ".weight", {hidden, hidden}, true, true});
    specs.push_back({names.value + ".weight", {hidden, hidden}, true, true});
    bias(names.query, hidden);
    specs.push_back({names.key + ".bias", {hidden}, false, true});
    specs.push_back({names.value + ".bias", {hidden}, false, true});
    matrix(names.attentionOutput, hidden, hidden);
    bias(names.attentionOutput, hidden);
    norm(names.attentionNorm);
    matrix(names.up, config_.intermediate, hidden);
    bias(names.up, config_.intermediate);
    matrix(names.down, hidden, config_.intermediate);
    bias(names.down, hidden);
    norm(names.outputNorm);
  }
  for (size_t k = 0; k < config_.dense.size(); ++k) {
    matrix(denseName(k), config_.dense[k].outFeatures, config_.dense[k].inFeatures);
    if (config_.dense[k].bias) bias(denseName(k), config_.dense[k].outFeatures);
  }
}

int64_t Encoder::dimension() const {
  return config_.dense.empty() ? config_.hidden : config_.dense.back().outFeatures;
}

int64_t Encoder::graphBytes(int64_t tokens, int64_t sequences) const {
  const int64_t size = static_cast<int64_t>(c10::elementSize(compute_));
  const int64_t statistics = (4 + config_.heads) * 4;  // mean and rstd of two norms, the softmax's normalizer
  const int64_t layer = (6 * config_.hidden + config_.intermediate) * size + statistics;
  // A sequence's row as it was pooled, its norm and offset; where the maxima are from; what comes behind.
  const int64_t wide = compute_ == at::kDouble ? 8 : 4;
  int64_t row = config_.hidden * (wide + (config_.pooling == "max" ? 4 : 0)) + 16;
  for (const DenseConfig& dense : config_.dense) row += 2 * dense.outFeatures * wide;
  if (config_.normalize && !config_.dense.empty()) row += dimension() * wide;
  return tokens * (config_.layers * layer + 2 * config_.hidden * size + 40) + sequences * row;
}

PackedTokens Encoder::pack(const int32_t* ids, int64_t idCount, const int32_t* lengths,
                           int64_t sequences) const {
  return packTokens(ids, idCount, lengths, sequences, config_.vocabulary,
                    {config_.positions, architecture_.positionsAfterPadding, config_.paddingToken},
                    device_.is_cuda());
}

Linear Encoder::linear(const std::string& name) {
  const size_t weight = parameters_->index(name + ".weight"), bias = parameters_->index(name + ".bias");
  return {parameters_->compute(weight, compute_), parameters_->compute(bias, compute_),
          parameters_->gradient(weight), parameters_->gradient(bias)};
}

LayerNorm Encoder::layerNorm(const std::string& name) {
  const size_t scale = parameters_->index(name + ".weight"), shift = parameters_->index(name + ".bias");
  return {{parameters_->compute(scale, compute_), parameters_->compute(shift, compute_), config_.normEpsilon},
          parameters_->gradient(scale),
          parameters_->gradient(shift)};
}

LayerWeights Encoder::layerWeights(int64_t layer) {
  const LayerNames names = architecture_.layer(layer);
  const int64_t hidden = config_.hidden;
  const size_t query = parameters_->index(names.query + ".weight"),
               bias = parameters_->index(names.query + ".bias");
  Linear qkv{parameters_->computeJoined(query, 3, {3 * hidden, hidden}, compute_),
             parameters_->computeJoined(bias, 3, {3 * hidden}, compute_),
             parameters_->joinedGradient(query, 3, {3 * hidden, hidden}),
             parameters_->joinedGradient(bias, 3, {3 * hidden})};
  return {std::move(qkv),     linear(names.attentionOutput),  linear(names.up),
          linear(names.down), layerNorm(names.attentionNorm), layerNorm(names.outputNorm)};
}

at::Tensor Encoder::forward(PackedTokens packed, uint64_t seed, Mode mode) {
  const bool graph = mode == Mode::kWithGraph;
  const double hiddenDropout = mode == Mode::kInference ? 0 : config_.hiddenDropout;
  const double attentionDropout = mode == Mode::kInference ? 0 : config_.attentionDropout;
  const c10::DeviceGuard onDevice(device_);
  at::AutoGradMode recording(false);  // the layers' graph is recorded by hand
  packed.moveTo(device_);
  auto pass = std::make_shared<Pass>(Pass{std::move(packed), parameters_, parameters_->version()});
  const PackedTokens& tokens = pass->tokens;

  // Embeddings: dropout(norm(word + position + type)).
  const size_t words = parameters_->index(architecture_.words + ".weight");
  const size_t positions = parameters_->index(architecture_.positions + ".weight");
  kernels::Embedding table{parameters_->compute(words, compute_),
                           parameters_->compute(positions, compute_),
                           {},
                           tokens.ids,
                           tokens.positions};
  at::Tensor typeGradient;
  if (!architecture_.types.empty()) {
    const size_t types = parameters_->index(architecture_.types + ".weight");
    table.type = parameters_->compute(types, compute_).select(0, 0);
    typeGradient = parameters_->gradient(types).select(0, 0);
  }
  const LayerNorm embeddingNorm = layerNorm(architecture_.norm);
  const DropoutKey embeddingKey = DropoutKey::make(hiddenDropout, seed, kEmbeddingSite);
  kernels::Norm embedded = kernels::embed(table, embeddingNorm.weights, embeddingKey, graph);
  at::Tensor x = std::exchange(embedded.y, {});
  if (graph) {
    const bool paddedPositions = architecture_.positionsAfterPadding;
    x = record(x, {},
               [=, wordGradient = parameters_->gradient(words),
                positionGradient = parameters_->gradient(positions)](const at::Tensor& dx) {
                 pass->requireSameWeights();
                 at::Tensor dsum = kernels::embedBackward(dx, embedded, embeddingNorm.weights, embeddingKey,
                                                          embeddingNorm.scaleGradient,
                                                          embeddingNorm.shiftGradient, typeGradient);
                 // The tables' rows for padding are not trained, also where a text spells the padding token
                 // out.
                 at::Tensor trained =
                     pass->tokens.padding.defined() ? dsum.masked_fill(pass->tokens.padding, 0) : dsum;
                 kernels::addRows(wordGradient, pass->tokens.ids, trained);
                 kernels::addRows(positionGradient, pass->tokens.positions, paddedPositions ? trained : dsum);
                 return at::Tensor();
               });
  }

  LayerOptions options;
  options.heads = config_.heads;
  options.activation = activationNamed(config_.activation);
  at::Tensor buckets, bucketGradient;
  if (!architecture_.distanceBias.empty()) {
    buckets = distanceBuckets(tokens.longest, config_.relativeBuckets, device_);
    const size_t bias = parameters_->index(architecture_.distanceBias + ".weight");
    options.distanceBias = parameters_->compute(bias, compute_).index_select(0, buckets).t().contiguous();
    bucketGradient = parameters_->gradient(bias);
  }
  kernels::Norm previousNorm;
  kernels::NormWeights previousWeights;
  for (int64_t k = 0; k < config_.layers; ++k) {
    options.attentionKey = DropoutKey::make(attentionDropout, seed, layerSite(k, 0));
    if (architecture_.dropoutAfterAttention)
      options.attentionOutputKey = DropoutKey::make(hiddenDropout, seed, layerSite(k, 1));
    options.outputKey = DropoutKey::make(hiddenDropout, seed, layerSite(k, 2));
    const LayerWeights weights = layerWeights(k);
    if (!graph) {
      x = layerForward(x, weights, options, pass->sequences(), nullptr);
      continue;
    }
    auto tape = std::make_shared<LayerTape>();
    at::Tensor y = layerForward(x.detach(), weights, options, pass->sequences(), tape.get());
    // The input of a layer is the output of the norm before it, which brings it back for less than it costs
    // to keep.
    if (k > 0) {
      tape->input.reset();
      tape->inputNorm = previousNorm;
      tape->inputWeights = previousWeights;
    }
    previousNorm = tape->outputNorm;
    previousWeights = weights.outputNorm.weights;
    x = record(y, x, [=](const at::Tensor& dy) mutable {
      pass->requireSameWeights();
      if (buckets.defined())
        options.distanceBiasGradient = at::zeros(options.distanceBias.sizes(), bucketGradient.options());
      at::Tensor dx = layerBackward(dy, std::move(*tape), weights, options, pass->sequences());
      if (buckets.defined()) kernels::addRows(bucketGradient, buckets, options.distanceBiasGradient.t());
      return dx;
    });
  }

  at::Tensor pooled = pool(x, pass, graph);
  at::AutoGradMode recordingHead(graph);
  return head(std::move(pooled));
}

at::Tensor Encoder::pool(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const {
  const kernels::Pooling pooling = poolingNamed(config_.pooling);
  const bool normalize = config_.normalize && config_.dense.empty();
  kernels::Pooled pooled = kernels::pool(x, pass->sequences(), pooling, normalize);
  if (!graph) return pooled.y;
  at::Tensor y = pooled.y;
  // What backward reads of the result, without the graph, which would keep itself alive.
  pooled.y = normalize ? y.detach() : at::Tensor();
  return record(
      y, x, [=, type = x.scalar_type(), version = normalize ? y._version() : 0](const at::Tensor& dy) {
        require(!pooled.y.defined() || pooled.y._version() == version, "INPUT",
                "the representations were changed in place between a chunk's forward and its backward");
        return kernels::poolBackward(dy, pooled, pass->sequences(), pooling, type);
      });
}

at::Tensor Encoder::head(at::Tensor y) {
  for (size_t k = 0; k < config_.dense.size(); ++k) {
    const DenseConfig& dense = config_.dense[k];
    const at::Tensor& weight = parameters_->value(parameters_->index(denseName(k) + ".weight"));
    y = at::linear(
        y, weight,
        dense.bias ? parameters_->value(parameters_->index(denseName(k) + ".bias")) : at::Tensor());
    if (dense.activation == "tanh") y = at::tanh(y);
    if (dense.activation == "relu") y = at::relu(y);
    if (dense.activation == "gelu") y = at::gelu(y);
  }
  if (!config_.normalize || config_.dense.empty()) return y;  // or normalised where it was pooled
  return y.div(at::linalg_vector_norm(y, 2, at::IntArrayRef{1}, true).clamp_min(kernels::kLeastNorm));
}

}  // namespace gradcache
