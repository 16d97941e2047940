#include "blocks/post_norm_layer.h"

#include <utility>

#include "core/error.h"

namespace gradcache {

namespace {

// Backward recomputes masks from their keys, and norm and activation outputs from their inputs.
struct LayerTape {
  Stream input;
  SelfAttention::Tape attention;
  kernels::Norm attentionNorm, outputNorm;  // without y
  FeedForward::Tape feedForward;
};

}  // namespace

PostNormLayer::Names PostNormLayer::Names::ofBert(int64_t layer) {
  const std::string root = "encoder.layer." + std::to_string(layer);
  const std::string attention = root + ".attention.self";
  return {{{attention + ".query", attention + ".key", attention + ".value"},
           root + ".attention.output.dense",
           {},
           {}},
          root + ".attention.output.LayerNorm",
          {{root + ".intermediate.dense"}, root + ".output.dense"},
          root + ".output.LayerNorm"};
}

PostNormLayer::Options PostNormLayer::Options::from(const Settings& settings) {
  const int64_t hidden = settings.size("hidden"), heads = settings.size("heads");
  require(hidden % heads == 0, "CHECKPOINT", "hidden size ", hidden, " is not a multiple of ", heads,
          " heads");
  Options options{.attention = {.hidden = hidden,
                                .form = kernels::AttentionForm::plain(heads, hidden / heads),
                                .dropout = settings.number("attentionDropout")},
                  .feedForward = {.hidden = hidden,
                                  .intermediate = settings.size("intermediate"),
                                  .activation = kernels::activationNamed(settings.text("activation"))},
                  .norm = {settings.number("normEpsilon")},
                  .dropout = settings.number("hiddenDropout")};
  options.drophead = settings.has("drophead") ? settings.number("drophead") : 0;
  return options;
}

PostNormLayer::PostNormLayer(const Names& names, const Options& options, Builder& builder)
    : width_(options.attention.hidden),
      attention_(names.attention, options.attention, builder),
      attentionNorm_(builder.parameters, names.attentionNorm, width_, options.norm),
      feedForward_(names.feedForward, options.feedForward, builder),
      outputNorm_(builder.parameters, names.outputNorm, width_, options.norm),
      attentionDropout_(builder.dropout(options.dropoutAfterAttention ? options.dropout : 0)),
      outputDropout_(builder.dropout(options.dropout)) {
  if (options.drophead > 0) attention_.dropHeads(options.drophead, builder);
}

Stream PostNormLayer::forward(Stream x, const Pass& pass, Tape* tape) const {
  const bool save = tape != nullptr;
  LayerTape kept;
  const at::Tensor attended = attention_.forward(x.rows, pass, save ? &kept.attention : nullptr);
  kernels::Norm middle = attentionNorm_.forward(attended, attention_.outputBias(pass), x.rows,
                                                attentionDropout_.key(pass), pass, save);
  const at::Tensor fed = feedForward_.forward(middle.y, pass, save ? &kept.feedForward : nullptr);
  kernels::Norm output =
      outputNorm_.forward(fed, feedForward_.outputBias(pass), middle.y, outputDropout_.key(pass), pass, save);
  if (!save) return {std::move(output.y)};
  Stream y = outputNorm_.stream(std::exchange(output.y, {}), output, pass);
  kept.input = x.kept();
  kept.attentionNorm = withoutOutput(std::move(middle));
  kept.outputNorm = std::move(output);
  *tape = std::move(kept);
  return y;
}

at::Tensor PostNormLayer::backward(const at::Tensor& dy, Tape kept, const Pass& pass) const {
  auto tape = std::any_cast<LayerTape>(std::move(kept));
  kernels::NormGradients output = outputNorm_.backward(dy, tape.outputNorm, outputDropout_.key(pass),
                                                       feedForward_.outputBiasGradient(pass), pass);
  tape.outputNorm = {};
  FeedForward::Gradient dup = feedForward_.backward(output.x, std::exchange(tape.feedForward, {}), pass);
  output.x.reset();

  // The feed-forward's input gradient and the residual's meet here.
  const at::Tensor dmiddle = feedForward_.addInputGradient(std::move(output.sum), dup, pass);
  kernels::NormGradients middle = attentionNorm_.backward(
      dmiddle, tape.attentionNorm, attentionDropout_.key(pass), attention_.outputBiasGradient(pass), pass,
      /*dsum=*/{}, kernels::Output::kAgain);
  tape.attentionNorm = {};
  feedForward_.addProductGradient(dup, middle.y, pass);
  dup = {};
  middle.y.reset();

  SelfAttention::Gradient dqkv =
      attention_.backward(std::exchange(middle.x, {}), std::exchange(tape.attention, {}), pass);
  at::Tensor dx = attention_.addInputGradient(std::move(middle.sum), dqkv, pass);
  attention_.addProductGradient(dqkv, tape.input.recalled(), pass);
  return dx;
}

int64_t PostNormLayer::tapeBytes(const ChunkSize& chunk) const {
  // Two sums, which norms keep with mean and rstd.
  return attention_.tapeBytes(chunk) + feedForward_.tapeBytes(chunk) +
         chunk.tokens * (2 * width_ * chunk.element + 4 * chunk.wide);
}

}  // namespace gradcache
