// A layer's feed-forward part: a product, an activation or a gated one, and the product back. Its backward
// comes in two parts, because the layer computes its input again only in between.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/gate/gate.h"
#include "model/block.h"
#include "model/builder.h"
#include "model/linear.h"

namespace gradcache {

class FeedForward {
 public:
  // Without ".weight" and ".bias".
  struct Names {
    std::vector<std::string> up;  // with a gate: one matrix of both, or two in the order of the gate
    std::string down;
  };
  struct Options {
    int64_t hidden, intermediate;
    kernels::Activation activation;
    std::optional<kernels::GateOrder> gate{};  // none: a plain activation
    bool upBias = true, downBias = true;
    double dropout = 0;  // behind the activation
  };
  struct Tape {
    at::Tensor up;  // before bias and activation
    AdapterRows upRows, downRows;
  };
  // Of the first product's output.
  struct Gradient {
    at::Tensor up;
    AdapterRows rows;
  };
  FeedForward(const Names& names, const Options& options, Builder& builder);

  // Columns for which forward can use room behind x (kernels/room.h).
  int64_t inputRoom() const { return up_.inputRoom(); }
  // And backward behind dy.
  int64_t outputGradientRoom(const Pass& pass) const { return down_.outputGradientRoom(pass); }
  // x [T, hidden] to [T, hidden], without the last bias, which the layer adds.
  at::Tensor forward(const at::Tensor& x, const Pass& pass, Tape* tape) const;
  at::Tensor outputBias(const Pass& pass) const { return down_.bias(pass); }
  at::Tensor outputBiasGradient(const Pass& pass) const { return down_.biasGradient(pass); }

  // The gradient of the first product. Adds to all gradients but those of its matrix.
  Gradient backward(const at::Tensor& dy, Tape tape, const Pass& pass) const;
  // From that: dx + dL/dx, written over dx; dL/dx where dx is undefined.
  at::Tensor addInputGradient(at::Tensor dx, Gradient& dup, const Pass& pass) const;
  // Adds to the gradient of the first matrix, whose input was x.
  void addProductGradient(const Gradient& dup, const at::Tensor& x, const Pass& pass) const;

  int64_t tapeBytes(const ChunkSize& chunk) const;

 private:
  // Between the products, where a dropout of its own would make rows without room.
  int64_t middleRoom(const DropoutKey& key) const { return key.active() ? 0 : down_.inputRoom(); }

  Options options_;
  Linear up_, down_;
  Dropout dropout_;
};

}  // namespace gradcache
