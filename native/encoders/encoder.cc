#include "encoders/encoder.h"

#include <utility>

#include "core/error.h"
#include "core/recorded.h"
#include "encoders/architectures.h"
#include "encoders/heads.h"

namespace gradcache {

namespace {

// The numbers of the blocks whose rows the inner layers give, of so many blocks.
std::vector<size_t> innerBlocks(const Settings& settings, size_t behind, size_t blocks) {
  if (!settings.has("innerLayers")) return {};
  const int64_t layers = settings.size("layers");
  const size_t embeddings = blocks - behind - static_cast<size_t>(layers);  // blocks in front of the layers
  std::vector<size_t> places;
  int64_t least = 0;
  for (const int64_t layer : settings.integers("innerLayers")) {
    require(layer >= least && layer < layers, "INPUT",
            "the inner layers are not ascending numbers from 0 to ", layers - 1);
    places.push_back(embeddings - 1 + static_cast<size_t>(layer));
    least = layer + 1;
  }
  return places;
}

}  // namespace

Encoder::Encoder(const Settings& settings, at::ScalarType compute, Products products, at::Device device,
                 Training training)
    : compute_(compute), products_(products), device_(device) {
  require(compute == at::kFloat || compute == at::kDouble || compute == at::kBFloat16, "DTYPE",
          "an encoder computes in float32, float64 or bfloat16");
  require(products == Products::kExact || (compute == at::kFloat && !device.is_cpu()), "DTYPE",
          "precision is 'tf32'; 'float32', 'float64' or 'bfloat16' is needed on a CPU, which has no tf32");
  Builder builder(std::move(training));
  const Architecture architecture = buildArchitecture(settings.text("architecture"), settings, builder);
  inner_ = innerBlocks(settings, architecture.behind, builder.blocks.size());
  head_ = makeHead(architecture.width, settings, builder);
  require(inner_.empty() || head_->oneRow() || head_->perToken(), "INPUT",
          "a sparse encoder gives the representations of its last layer alone");
  settings.requireAllRead();
  rules_ = architecture.rules;
  width_ = architecture.width;
  blocks_ = std::move(builder.blocks);
  parameters_ = std::make_shared<Parameters>(std::move(builder.parameters), compute, device);
}

int64_t Encoder::graphBytes(int64_t tokens, int64_t sequences) const {
  const ChunkSize chunk{tokens, sequences, static_cast<int64_t>(c10::elementSize(compute_)),
                        compute_ == at::kDouble ? 8 : 4};
  int64_t bytes = head_->tapeBytes(chunk) * (1 + static_cast<int64_t>(inner_.size()));
  // The heads' rows are copied beside each other.
  if (!inner_.empty()) bytes += (head_->perToken() ? chunk.tokens : chunk.sequences) * columns() * chunk.wide;
  bool before = true;
  for (const BuiltBlock& built : blocks_) {
    if (built.trained) bytes += built.block->tapeBytes(chunk);
    // A block without a tape cannot compute its output again, so the block behind it keeps that.
    if (built.trained && !before) bytes += chunk.tokens * width_ * chunk.element;
    before = built.trained;
  }
  return bytes;
}

std::shared_ptr<const TokenBatch> Encoder::batch(std::vector<int32_t> ids, std::vector<int32_t> offsets,
                                                 std::vector<int32_t> numbers, std::vector<int32_t> types,
                                                 std::vector<uint8_t> counts, int64_t skipped,
                                                 std::vector<int32_t> unattended) const {
  require(counts.empty() || head_->perToken(), "INPUT",
          "some tokens of the batch are marked not to count, but the encoder pools all of them");
  require(skipped >= 0 && (skipped == 0 || head_->skips()), "INPUT", "a batch skips ", skipped,
          " tokens of each text; 0 is needed: the encoder does not pool tokens into one dense row");
  return std::make_shared<const TokenBatch>(std::move(ids), std::move(offsets), std::move(numbers), rules_,
                                            std::move(types), std::move(counts), skipped,
                                            std::move(unattended));
}

PackedTokens Encoder::pack(const TokenBatch& batch, const std::vector<int32_t>& rows, int64_t tokens) const {
  require(batch.rules() == rules_, "INPUT", "the batch was packed for an encoder that takes other tokens");
  return batch.pack(rows, tokens, device_.is_cuda());
}

Encoded Encoder::forward(PackedTokens packed, uint64_t seed, Mode mode) const {
  const c10::DeviceGuard onDevice(device_);
  const ProductScope scope(products_);
  const bool graph = mode == Mode::kWithGraph;
  Blocks blocks = throughBlocks(std::move(packed), seed, mode, /*inner=*/true);
  Encoded encoded = head_->forward(blocks.x, blocks.pass, graph);
  if (blocks.inner.empty()) return encoded;
  const at::AutoGradMode recording(graph);
  blocks.inner.insert(blocks.inner.begin(), std::move(encoded.rows));
  encoded.rows = at::cat(blocks.inner, 1);
  return encoded;
}

at::Tensor Encoder::dense(PackedTokens packed, uint64_t seed, Mode mode) const {
  const c10::DeviceGuard onDevice(device_);
  const ProductScope scope(products_);
  const at::AutoGradMode recording(false);
  const Blocks blocks = throughBlocks(std::move(packed), seed, mode, /*inner=*/false);
  return head_->dense(blocks.x, blocks.pass);
}

Encoder::Blocks Encoder::throughBlocks(PackedTokens packed, uint64_t seed, Mode mode, bool inner) const {
  const bool graph = mode == Mode::kWithGraph;
  const at::AutoGradMode recording(false);  // the blocks' graph is recorded by hand
  packed.moveTo(device_);
  const auto pass = std::make_shared<const Pass>(
      Pass{std::move(packed), parameters_, seed, mode != Mode::kInference, parameters_->version()});
  Stream stream;
  at::Tensor x;  // the stream's rows with their graph
  std::vector<at::Tensor> representations;
  auto next = inner_.begin();
  for (size_t k = 0; k < blocks_.size(); ++k) {
    const BuiltBlock& built = blocks_[k];
    const std::shared_ptr<const Block>& block = built.block;
    const bool read = inner && next != inner_.end() && *next == k;
    // A head reads the rows themselves.
    const bool left = !read && k + 1 < blocks_.size() && blocks_[k + 1].block->addsBranch();
    const auto forward = [&](Tape* tape) {
      stream = block->forward(std::move(stream), *pass, tape);
      if (!left) stream = std::move(stream).added();
    };
    if (!graph || !built.trained) {
      forward(nullptr);
      x = read || k + 1 == blocks_.size() ? stream.rows : at::Tensor();
    } else {
      auto tape = std::make_shared<Tape>();
      forward(tape.get());
      // The stream has no graph, so a block may keep its input and its output. While a branch is to be added,
      // x stands for the sum in the graph, and nobody reads its numbers.
      x = record(stream.rows.detach(), x,
                 [pass, block, tape, progress = progress_, final = finalBehind(k)](const at::Tensor& dy) {
                   pass->requireSameWeights();
                   at::Tensor dx = block->backward(dy, std::move(*tape), *pass);
                   progress->reached(final);
                   return dx;
                 });
    }
    if (!read) continue;
    // At once: without a tape the next block may write over its input.
    representations.push_back(head_->forward(x, pass, graph).rows);
    ++next;
  }
  return {pass, x, std::move(representations)};
}

int64_t Encoder::finalBehind(size_t block) const {
  // The head of an inner layer adds to the gradients of the head, which lie behind those of all blocks.
  if (!inner_.empty() && block > inner_.front()) return parameters_->flatGradients().numel();
  return parameters_->gradientsBehind(block == 0 ? 0 : blocks_[block - 1].parameters);
}

}  // namespace gradcache
