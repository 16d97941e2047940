#include "blocks/pre_norm_layer.h"

#include <memory>
#include <utility>

#include "kernels/dropout/dropout.h"
#include "kernels/rows/rows.h"

namespace gradcache {

namespace {

// Backward recomputes masks from their keys, and norm and activation outputs from their inputs.
struct LayerTape {
  Stream input;
  kernels::Norm attentionNorm;  // without y and sum, which is the input
  SelfAttention::Tape attention;
  kernels::Norm feedForwardNorm;                                              // without y
  std::shared_ptr<kernels::Norm> attentionOutputNorm, feedForwardOutputNorm;  // of the branches
  FeedForward::Tape feedForward;
};

std::optional<Normalization> normNamed(const std::string& name, int64_t width, const NormStyle& style,
                                       Builder& builder) {
  if (name.empty()) return std::nullopt;
  return Normalization(builder.parameters, name, width, style);
}

}  // namespace

PreNormLayer::PreNormLayer(const Names& names, const Options& options, Builder& builder)
    : width_(options.attention.hidden),
      attentionNorm_(normNamed(names.attentionNorm, width_, options.norm, builder)),
      attention_(names.attention, options.attention, builder),
      attentionOutputNorm_(normNamed(names.attentionOutputNorm, width_, options.norm, builder)),
      feedForwardNorm_(builder.parameters, names.feedForwardNorm, width_, options.norm),
      feedForward_(names.feedForward, options.feedForward, builder),
      feedForwardOutputNorm_(normNamed(names.feedForwardOutputNorm, width_, options.norm, builder)),
      attentionDropout_(builder.dropout(options.attentionOutputDropout)),
      feedForwardDropout_(builder.dropout(options.feedForwardOutputDropout)) {
  if (options.drophead > 0) attention_.dropHeads(options.drophead, builder);
}

Stream PreNormLayer::forward(Stream x, const Pass& pass, Tape* tape) const {
  const bool save = tape != nullptr;
  LayerTape kept;
  const auto branch = [&](at::Tensor rows, at::Tensor bias, const std::optional<Normalization>& norm,
                          const Dropout& dropout, std::shared_ptr<kernels::Norm>& normed) {
    Branch result{std::move(rows), std::move(bias), std::nullopt, dropout.key(pass)};
    if (!norm) return result;
    result.norm = norm->weights(pass);
    if (save) result.normed = normed = std::make_shared<kernels::Norm>();
    return result;
  };
  at::Tensor in = x.rows;
  if (attentionNorm_) {
    kept.attentionNorm = attentionNorm_->forward(x, pass, save, attention_.inputRoom());
    in = std::exchange(kept.attentionNorm.y, {});
    at::Tensor sum = std::exchange(kept.attentionNorm.sum, {});
    if (x.branch) x = {std::move(sum)};
  }
  at::Tensor attended = attention_.forward(in, pass, save ? &kept.attention : nullptr);
  in.reset();
  kernels::Norm middle =
      branch(std::move(attended), attention_.outputBias(pass), attentionOutputNorm_, attentionDropout_,
             kept.attentionOutputNorm)
          .addedAndNormed(x.rows, feedForwardNorm_.weights(pass), save, feedForward_.inputRoom());
  at::Tensor fed =
      feedForward_.forward(std::exchange(middle.y, {}), pass, save ? &kept.feedForward : nullptr);
  Stream y{middle.sum};
  y.branch = branch(std::move(fed), feedForward_.outputBias(pass), feedForwardOutputNorm_,
                    feedForwardDropout_, kept.feedForwardOutputNorm);
  if (!save) return y;
  kept.input = x.kept();
  kept.feedForwardNorm = std::move(middle);
  *tape = std::move(kept);
  return y;
}

at::Tensor PreNormLayer::backward(const at::Tensor& dy, Tape kept, const Pass& pass) const {
  auto tape = std::any_cast<LayerTape>(std::move(kept));
  at::Tensor dfed = kernels::dropout(dy, feedForwardDropout_.key(pass));
  const at::Tensor fedBias = feedForward_.outputBiasGradient(pass);
  if (feedForwardOutputNorm_) {
    dfed = feedForwardOutputNorm_
               ->backward(dfed, *std::exchange(tape.feedForwardOutputNorm, {}), {}, fedBias, pass, {},
                          kernels::Output::kNone, feedForward_.outputGradientRoom(pass))
               .x;
  } else if (fedBias.defined()) {
    kernels::addColumnSum(fedBias, dfed);
  }
  FeedForward::Gradient dup = feedForward_.backward(dfed, std::exchange(tape.feedForward, {}), pass);
  dfed.reset();

  // The gradient of the middle sum: through the feed-forward's norm, and around it.
  at::Tensor dnormed = feedForward_.addInputGradient({}, dup, pass);
  const at::Tensor attendedBias = attention_.outputBiasGradient(pass);
  at::Tensor dmiddle, dattended, again;
  if (attentionOutputNorm_) {
    kernels::SandwichNorm saved{std::move(*std::exchange(tape.attentionOutputNorm, {})),
                                std::exchange(tape.feedForwardNorm, {})};
    kernels::SandwichGradients both = kernels::sandwichNormBackward(
        dnormed, dy, saved, attentionOutputNorm_->weights(pass), feedForwardNorm_.weights(pass),
        attentionDropout_.key(pass), attentionOutputNorm_->targets(attendedBias, pass),
        feedForwardNorm_.targets({}, pass), attention_.outputGradientRoom(pass));
    dmiddle = std::move(both.sum);
    dattended = std::move(both.inner);
    again = std::move(both.y);
  } else {
    kernels::NormGradients middle = feedForwardNorm_.backward(
        dnormed, std::exchange(tape.feedForwardNorm, {}), attentionDropout_.key(pass), attendedBias, pass, dy,
        kernels::Output::kAgain, attention_.outputGradientRoom(pass));
    dmiddle = std::move(middle.sum);
    dattended = std::move(middle.x);
    again = std::move(middle.y);
  }
  feedForward_.addProductGradient(std::exchange(dup, {}), std::exchange(again, {}), pass);
  SelfAttention::Gradient dqkv = attention_.backward(dattended, std::exchange(tape.attention, {}), pass);
  dattended.reset();
  const at::Tensor x = tape.input.recalled();
  if (!attentionNorm_) {
    at::Tensor dx = attention_.addInputGradient(std::move(dmiddle), dqkv, pass);
    attention_.addProductGradient(dqkv, x, pass);
    return dx;
  }
  tape.attentionNorm.sum = x;
  dnormed = attention_.addInputGradient({}, dqkv, pass);
  // The layer before takes dx as this one took dy.
  const int64_t room = feedForwardOutputNorm_ ? 0 : feedForward_.outputGradientRoom(pass);
  const kernels::NormGradients first = attentionNorm_->backward(dnormed, tape.attentionNorm, {}, {}, pass,
                                                                dmiddle, kernels::Output::kAgain, room);
  attention_.addProductGradient(dqkv, first.y, pass);
  return first.sum;
}

int64_t PreNormLayer::tapeBytes(const ChunkSize& chunk) const {
  // The middle sum, the layer's output, and what each norm behind keeps of its input; mean and rstd of all.
  const int64_t behind = (attentionOutputNorm_ ? 1 : 0) + (feedForwardOutputNorm_ ? 1 : 0);
  const int64_t norms = (attentionNorm_ ? 2 : 1) + behind;
  return attention_.tapeBytes(chunk) + feedForward_.tapeBytes(chunk) +
         chunk.tokens * ((2 + behind) * width_ * chunk.element + 2 * norms * chunk.wide);
}

}  // namespace gradcache
