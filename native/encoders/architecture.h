// The encoders of this package share one layer: attention, residual, norm, feed-forward, residual, norm (the
// "post-norm" transformer of Vaswani et al. 2017 and BERT). They differ in names, in how they number
// positions and in MPNet's distance bias. One file each tells what is its own.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace gradcache {

// Names without ".weight" and ".bias".
struct LayerNames {
  std::string query, key, value, attentionOutput, attentionNorm, up, down, outputNorm;
};

struct Architecture {
  std::string words = "embeddings.word_embeddings";
  std::string positions = "embeddings.position_embeddings";
  std::string types;  // empty where there are none
  std::string norm = "embeddings.LayerNorm";
  std::string distanceBias;  // empty where there is none
  bool positionsAfterPadding = false;
  bool dropoutAfterAttention = true;  // on what attention adds to the residual
  std::function<LayerNames(int64_t layer)> layer;
};

Architecture bert();
Architecture roberta();  // XLM-RoBERTa too
Architecture distilbert();
Architecture mpnet();

// Throws CHECKPOINT for a name that is none of these.
Architecture architectureNamed(const std::string& name);

}  // namespace gradcache
