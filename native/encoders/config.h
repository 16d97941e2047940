// What an encoder is made of, as plain values: filled from config.json and modules.json by
// lib/encoders/architecture.ts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gradcache {

struct DenseConfig {
  int64_t inFeatures = 0, outFeatures = 0;
  bool bias = true;
  std::string activation;  // identity | tanh | relu | gelu
};

struct EncoderConfig {
  std::string architecture;  // bert | roberta | distilbert | mpnet
  int64_t vocabulary = 0, hidden = 0, layers = 0, heads = 0, intermediate = 0;
  int64_t positions = 0, types = 0, paddingToken = 0;
  int64_t relativeBuckets = 0;  // MPNet's distance buckets
  double normEpsilon = 1e-12;
  std::string activation;  // gelu | gelu_new | gelu_pytorch_tanh | relu
  double hiddenDropout = 0, attentionDropout = 0;
  std::string pooling;  // mean | cls | max | last
  std::vector<DenseConfig> dense;
  bool normalize = false;
};

}  // namespace gradcache
