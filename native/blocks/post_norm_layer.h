// The layer of Vaswani et al. 2017 and BERT over packed tokens: attention, residual, norm, feed-forward,
// residual, norm. Its backward is written by hand.
#pragma once

#include <string>

#include "blocks/feed_forward.h"
#include "blocks/self_attention.h"
#include "core/settings.h"
#include "model/block.h"
#include "model/builder.h"
#include "model/normalization.h"

namespace gradcache {

class PostNormLayer final : public Block {
 public:
  // Without ".weight" and ".bias".
  struct Names {
    SelfAttention::Names attention;
    std::string attentionNorm;
    FeedForward::Names feedForward;
    std::string outputNorm;
    // The names of transformers' BertLayer, which other models use too.
    static Names ofBert(int64_t layer);
  };
  struct Options {
    SelfAttention::Options attention;
    FeedForward::Options feedForward;
    NormStyle norm;
    double dropout;                     // on what is added to the residual
    double drophead = 0;                // probability that a head of a sequence adds nothing
    bool dropoutAfterAttention = true;  // on what attention adds to the residual

    // From the settings of these names, with all biases.
    static Options from(const Settings& settings);
  };
  PostNormLayer(const Names& names, const Options& options, Builder& builder);

  Stream forward(Stream x, const Pass& pass, Tape* tape) const override;
  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override;
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  int64_t width_;
  SelfAttention attention_;
  Normalization attentionNorm_;
  FeedForward feedForward_;
  Normalization outputNorm_;
  Dropout attentionDropout_, outputDropout_;
};

}  // namespace gradcache
