// The layer of today's models over packed tokens: norm, attention, residual, norm, feed-forward, residual. A
// sandwich has a norm behind attention and behind feed-forward too. Its backward is written by hand.
#pragma once

#include <optional>
#include <string>

#include "blocks/feed_forward.h"
#include "blocks/self_attention.h"
#include "model/block.h"
#include "model/builder.h"
#include "model/normalization.h"

namespace gradcache {

class PreNormLayer final : public Block {
 public:
  // Without ".weight" and ".bias".
  struct Names {
    std::string attentionNorm;  // empty: attention takes the layer's input as it is
    SelfAttention::Names attention;
    std::string attentionOutputNorm;  // empty, with the next but one: there are no norms behind
    std::string feedForwardNorm;
    FeedForward::Names feedForward;
    std::string feedForwardOutputNorm;
  };
  struct Options {
    SelfAttention::Options attention;
    FeedForward::Options feedForward;
    NormStyle norm;
    double attentionOutputDropout = 0, feedForwardOutputDropout = 0;  // on what is added to the residual
    double drophead = 0;  // probability that a head of a sequence adds nothing
  };
  PreNormLayer(const Names& names, const Options& options, Builder& builder);

  Stream forward(Stream x, const Pass& pass, Tape* tape) const override;
  // Leaves its feed-forward part as a branch to the block behind it.
  bool addsBranch() const override { return attentionNorm_.has_value(); }
  at::Tensor backward(const at::Tensor& dy, Tape tape, const Pass& pass) const override;
  int64_t tapeBytes(const ChunkSize& chunk) const override;

 private:
  int64_t width_;
  std::optional<Normalization> attentionNorm_;
  SelfAttention attention_;
  std::optional<Normalization> attentionOutputNorm_;
  Normalization feedForwardNorm_;
  FeedForward feedForward_;
  std::optional<Normalization> feedForwardOutputNorm_;
  Dropout attentionDropout_, feedForwardDropout_;
};

}  // namespace gradcache
