// A layer's attention: one product for queries, keys and values, what heads go through before they meet,
// their meeting, and the product that brings them back. Its backward comes in two parts, because the layer
// computes its input again only in between.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blocks/disentangled.h"
#include "blocks/distance_bias.h"
#include "blocks/rotary_table.h"
#include "kernels/attention/attention.h"
#include "model/block.h"
#include "model/builder.h"
#include "model/linear.h"

namespace gradcache {

class SelfAttention {
 public:
  // Without ".weight" and ".bias".
  struct Names {
    std::vector<std::string> projections;  // of queries, keys and values; or one of all
    std::string output;
    std::string queryNorm, keyNorm;  // of each head; empty: there are none
  };
  struct Options {
    int64_t hidden;
    kernels::AttentionForm form;
    bool bias = true, outputBias = true;
    double normEpsilon = 0, normOffset = 0;  // of the heads' norms
    double dropout = 0;                      // of the probabilities
    std::shared_ptr<const RotaryTable> rotary{};
    std::shared_ptr<const DistanceBias> distanceBias{};
    std::optional<Disentangled::Options> disentangled{};  // no norms, rotation or bias beside it
  };
  struct Tape {
    at::Tensor qkv;  // as attention takes it; with norms of heads, as they take it
    kernels::Attention attention;
    AdapterRows qkvRows, outputRows;
  };
  // Of queries, keys and values.
  struct Gradient {
    at::Tensor qkv;
    AdapterRows rows;
  };
  SelfAttention(const Names& names, const Options& options, Builder& builder);

  // The probability that a head of a sequence adds nothing. A place of its own, so that without it a model
  // has the masks that it always had.
  void dropHeads(double probability, Builder& builder) { drophead_ = builder.dropout(probability); }

  // Columns for which forward can use room behind x, and backward behind dy (kernels/room.h).
  int64_t inputRoom() const { return qkv_.inputRoom(); }
  int64_t outputGradientRoom(const Pass& pass) const { return output_.outputGradientRoom(pass); }
  // x [T, hidden] to [T, hidden], without the last bias, which the layer adds.
  at::Tensor forward(const at::Tensor& x, const Pass& pass, Tape* tape) const;
  at::Tensor outputBias(const Pass& pass) const { return output_.bias(pass); }
  at::Tensor outputBiasGradient(const Pass& pass) const { return output_.biasGradient(pass); }

  // The gradient of queries, keys and values. Adds to all gradients but those of their product.
  Gradient backward(const at::Tensor& dy, Tape tape, const Pass& pass) const;
  // From that: dx + dL/dx, written over dx; dL/dx where dx is undefined.
  at::Tensor addInputGradient(at::Tensor dx, Gradient& dqkv, const Pass& pass) const;
  // Adds to the gradients of the product, whose input was x.
  void addProductGradient(const Gradient& dqkv, const at::Tensor& x, const Pass& pass) const;

  int64_t tapeBytes(const ChunkSize& chunk) const;

 private:
  kernels::HeadRows prepared(const at::Tensor& qkv, const Pass& pass) const;
  kernels::HeadLayout layout() const;
  kernels::HeadNorms norms(const Pass& pass) const;
  at::Tensor distances(const Pass& pass) const;
  // The heads' outputs, or their gradients [T, heads * size], without the heads that are dropped.
  at::Tensor keptHeads(const at::Tensor& rows, const Pass& pass) const;

  Options options_;
  Linear qkv_;
  std::optional<ParameterId> queryNorm_, keyNorm_;
  Linear output_;
  Dropout dropout_, drophead_;
  std::optional<Disentangled> disentangled_;
};

}  // namespace gradcache
