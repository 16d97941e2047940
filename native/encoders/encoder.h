// A text encoder: packed tokens in, one representation per sequence out, parameter gradients added up in
// float32.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "core/packed_tokens.h"
#include "core/parameters.h"
#include "encoders/architecture.h"
#include "encoders/config.h"
#include "encoders/layer.h"

namespace gradcache {

struct Pass;  // what the closures of one forward share

class Encoder {
 public:
  // `compute` is float32, float64 or bfloat16; weights and gradients are float32, or float64 where that
  // computes.
  Encoder(EncoderConfig config, at::ScalarType compute, at::Device device);

  enum class Mode {
    kInference,     // no dropout, no graph
    kWithoutGraph,  // dropout under the seed, no graph: the paper's step 1
    kWithGraph,     // dropout under the seed, with a graph: step 3
  };

  PackedTokens pack(const int32_t* ids, int64_t idCount, const int32_t* lengths, int64_t sequences) const;
  // [sequences, dimension], float32 (float64). Its backward adds to the gradients of the parameters, once.
  at::Tensor forward(PackedTokens tokens, uint64_t seed, Mode mode);

  Parameters& parameters() { return *parameters_; }
  const EncoderConfig& config() const { return config_; }
  int64_t dimension() const;
  // What a graph of this chunk keeps until its backward, in bytes.
  int64_t graphBytes(int64_t tokens, int64_t sequences) const;

 private:
  void describeParameters(std::vector<ParameterSpec>& specs) const;
  Linear linear(const std::string& name);
  LayerNorm layerNorm(const std::string& name);
  LayerWeights layerWeights(int64_t layer);

  // One row for each sequence; normalised already where no dense layer comes between.
  at::Tensor pool(const at::Tensor& x, const std::shared_ptr<const Pass>& pass, bool graph) const;
  at::Tensor head(at::Tensor pooled);

  EncoderConfig config_;
  Architecture architecture_;
  at::ScalarType compute_;
  at::Device device_;
  std::shared_ptr<Parameters> parameters_;
};

}  // namespace gradcache
