// The layer of Vaswani et al. 2017 and BERT over packed tokens: attention, residual, norm, feed-forward,
// residual, norm. Its backward is written by hand.
#pragma once

#include <memory>
#include <string>

#include "blocks/distance_bias.h"
#include "core/settings.h"
#include "kernels/activation/activation.h"
#include "model/block.h"
#include "model/builder.h"
#include "model/layer_norm.h"
#include "model/linear.h"

namespace gradcache {

class PostNormLayer final : public Block {
 public:
  // Without ".weight" and ".bias".
  struct Names {
    std::string query, key, value, attentionOutput, attentionNorm, up, down, outputNorm;
    // The names of transformers' BertLayer, which other models use too.
    static Names ofBert(int64_t layer);
  };
  struct Options {
    int64_t hidden, heads, intermediate;
    double normEpsilon;
    kernels::Activation activation;
    double hiddenDropout, attentionDropout;
    double drophead = 0;                // probability that a head of a sequence adds nothing
    bool dropoutAfterAttention = true;  // on what attention adds to the residual
    std::shared_ptr<const DistanceBias> distanceBias{};

    // From the settings of these names.
    static Options from(const Settings& settings);
  };
  PostNormLayer(const Names& names, const Options& options, Builder& builder);

  Stream forward(const Stream& x, const Pass& pass, Tape* tape) const override;
  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override;
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  at::Tensor distances(const Pass& pass) const;
  // The heads' outputs, or their gradients [tokens, hidden], without the heads that are dropped.
  at::Tensor keptHeads(const at::Tensor& rows, const Pass& pass) const;

  Options options_;
  Linear qkv_, attentionOutput_;
  LayerNorm attentionNorm_;
  Linear up_, down_;
  LayerNorm outputNorm_;
  Dropout attentionDropout_, attentionOutputDropout_, outputDropout_, drophead_;
};

}  // namespace gradcache
