#include "blocks/feed_forward.h"

#include <utility>

#include "kernels/dropout/dropout.h"

namespace gradcache {

namespace {

std::vector<Linear::Part> upParts(const std::vector<std::string>& names,
                                  const FeedForward::Options& options) {
  const int64_t columns = options.gate ? 2 * options.intermediate : options.intermediate;
  if (names.size() == 1) return {{names[0], columns}};
  return {{names[0], options.intermediate}, {names[1], options.intermediate}};
}

}  // namespace

FeedForward::FeedForward(const Names& names, const Options& options, Builder& builder)
    : options_(options),
      up_(builder.parameters, upParts(names.up, options), options.hidden, options.upBias, {}, {},
          {.outputGradient = options.gate.has_value()}),
      down_(builder.parameters, std::vector<Linear::Part>{{names.down, options.hidden}}, options.intermediate,
            options.downBias, {}, {}, {.input = options.gate.has_value(), .outputGradient = true}) {
  // A layer without this dropout has no place for it.
  if (options.dropout > 0) dropout_ = builder.dropout(options.dropout);
}

at::Tensor FeedForward::forward(const at::Tensor& x, const Pass& pass, Tape* tape) const {
  Tape kept;
  const bool save = tape != nullptr;
  at::Tensor up = up_.product(x, pass, save ? &kept.upRows : nullptr);
  const at::Tensor bias = up_.bias(pass);
  const DropoutKey key = dropout_.key(pass);
  const at::Tensor y = options_.gate
                           ? kernels::gated(up, bias, options_.activation, *options_.gate, middleRoom(key))
                           : kernels::activation(up, bias, options_.activation);
  kept.up = save ? std::move(up) : at::Tensor();
  up.reset();
  at::Tensor down = down_.product(kernels::dropout(y, key), pass, save ? &kept.downRows : nullptr);
  if (save) *tape = std::move(kept);
  return down;
}

FeedForward::Gradient FeedForward::backward(const at::Tensor& dy, Tape tape, const Pass& pass) const {
  const DropoutKey key = dropout_.key(pass);
  const at::Tensor dactivated = kernels::dropout(down_.inputGradient(dy, pass, &tape.downRows), key);
  kernels::ActivationGradients gradients =
      options_.gate
          ? kernels::gatedBackward(dactivated, tape.up, up_.bias(pass), options_.activation, *options_.gate,
                                   up_.biasGradient(pass), up_.outputGradientRoom(pass))
          : kernels::activationBackward(dactivated, tape.up, up_.bias(pass), options_.activation,
                                        up_.biasGradient(pass));
  tape.up.reset();
  down_.addWeightGradient(dy, kernels::dropout(gradients.y, key), pass, tape.downRows);
  return {std::move(gradients.x), std::move(tape.upRows)};
}

at::Tensor FeedForward::addInputGradient(at::Tensor dx, Gradient& dup, const Pass& pass) const {
  return up_.addInputGradient(std::move(dx), dup.up, pass, &dup.rows);
}

void FeedForward::addProductGradient(const Gradient& dup, const at::Tensor& x, const Pass& pass) const {
  up_.addWeightGradient(dup.up, x, pass, dup.rows);
}

int64_t FeedForward::tapeBytes(const ChunkSize& chunk) const {
  return chunk.tokens * (options_.gate ? 2 : 1) * options_.intermediate * chunk.element +
         up_.rowsBytes(chunk) + down_.rowsBytes(chunk);
}

}  // namespace gradcache
