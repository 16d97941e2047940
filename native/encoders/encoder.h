// A text encoder: packed tokens in, representations of the sequences out, parameter gradients added up in
// float32.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "core/products.h"
#include "core/settings.h"
#include "encoders/backward_progress.h"
#include "model/builder.h"
#include "model/head.h"
#include "model/mode.h"
#include "model/packed_tokens.h"
#include "model/parameters.h"

namespace gradcache {

class Encoder {
 public:
  // `compute` is float32, float64 or bfloat16; float32 matrices may be multiplied in tf32, on a GPU. Weights
  // that are trained and gradients are float32 (float64 for float64), frozen weights in the compute type. On
  // the device "meta" it is declared alone: it has parameters without memory, and no passes.
  //
  // The setting `innerLayers` names layers before the last whose representations training takes as well, in
  // ascending order; 0 is what the embeddings give.
  Encoder(const Settings& settings, at::ScalarType compute, Products products, at::Device device,
          Training training);

  // A batch whose chunks this encoder takes, as the constructor of TokenBatch.
  std::shared_ptr<const TokenBatch> batch(std::vector<int32_t> ids, std::vector<int32_t> offsets,
                                          std::vector<int32_t> numbers, std::vector<int32_t> types,
                                          std::vector<uint8_t> counts, int64_t skipped,
                                          std::vector<int32_t> unattended) const;
  // A chunk of a batch that this encoder, or one that takes the same tokens, has made: as TokenBatch::pack.
  PackedTokens pack(const TokenBatch& batch, const std::vector<int32_t>& rows, int64_t tokens) const;
  // Representations as training takes them, float32 (float64). Their backward adds to the gradients of the
  // parameters, once. Of several layers they lie side by side, [rows, columns()]: first the last layer's,
  // then those of the inner layers.
  Encoded forward(PackedTokens tokens, uint64_t seed, Mode mode) const;
  // [sequences, dimension] of the last layer without a graph, whatever the form in training is.
  at::Tensor dense(PackedTokens tokens, uint64_t seed, Mode mode) const;

  // Of the backward that is marked as the last.
  BackwardProgress& progress() { return *progress_; }
  Parameters& parameters() { return *parameters_; }
  const Head& head() const { return *head_; }
  // Of a row in training.
  int64_t columns() const { return head_->columns() * (1 + static_cast<int64_t>(inner_.size())); }
  // Bytes that a graph of this chunk keeps until its backward.
  int64_t graphBytes(int64_t tokens, int64_t sequences) const;

 private:
  struct Blocks {
    std::shared_ptr<const Pass> pass;
    at::Tensor x;                     // the last block's rows, with a graph in Mode::kWithGraph
    std::vector<at::Tensor> inner{};  // representations of the inner layers
  };
  Blocks throughBlocks(PackedTokens tokens, uint64_t seed, Mode mode, bool inner) const;
  // From which of the flat gradients on nothing is added once the backward of this block is over.
  int64_t finalBehind(size_t block) const;

  at::ScalarType compute_;
  Products products_;
  at::Device device_;
  TokenRules rules_;
  int64_t width_ = 0;  // of the rows between layers
  std::vector<BuiltBlock> blocks_;
  std::vector<size_t> inner_;  // the numbers of the blocks that inner layers end with, ascending
  std::shared_ptr<const Head> head_;
  std::shared_ptr<Parameters> parameters_;
  std::shared_ptr<BackwardProgress> progress_ = std::make_shared<BackwardProgress>();
};

}  // namespace gradcache
