#include "blocks/post_norm_layer.h"

#include <utility>

#include "core/error.h"
#include "kernels/attention/attention.h"
#include "kernels/dropout/dropout.h"
#include "kernels/rows/rows.h"
#include "model/sequence_rows.h"

namespace gradcache {

namespace {

// Backward recomputes masks from their keys, and norm and activation outputs from their inputs.
struct LayerTape {
  Stream input;
  at::Tensor qkv;
  kernels::Attention attention;
  kernels::Norm attentionNorm, outputNorm;  // without y
  at::Tensor up;                            // before bias and activation

  static int64_t bytes(const PostNormLayer::Options& options, const ChunkSize& chunk) {
    // Bytes per token: mean and rstd of two norms, and the softmax's normalizer of each head.
    const int64_t statistics = (4 + options.heads) * 4;
    return chunk.tokens * ((6 * options.hidden + options.intermediate) * chunk.element + statistics);
  }
};

kernels::Norm withoutOutput(kernels::Norm norm) {
  norm.y.reset();
  return norm;
}

}  // namespace

PostNormLayer::Names PostNormLayer::Names::ofBert(int64_t layer) {
  const std::string root = "encoder.layer." + std::to_string(layer);
  return {root + ".attention.self.query",
          root + ".attention.self.key",
          root + ".attention.self.value",
          root + ".attention.output.dense",
          root + ".attention.output.LayerNorm",
          root + ".intermediate.dense",
          root + ".output.dense",
          root + ".output.LayerNorm"};
}

PostNormLayer::Options PostNormLayer::Options::from(const Settings& settings) {
  Options options{settings.size("hidden"),
                  settings.size("heads"),
                  settings.size("intermediate"),
                  settings.number("normEpsilon"),
                  kernels::activationNamed(settings.text("activation")),
                  settings.number("hiddenDropout"),
                  settings.number("attentionDropout"),
                  settings.has("drophead") ? settings.number("drophead") : 0};
  require(options.hidden % options.heads == 0, "CHECKPOINT", "hidden size ", options.hidden,
          " is not a multiple of ", options.heads, " heads");
  return options;
}

PostNormLayer::PostNormLayer(const Names& names, const Options& options, Builder& builder)
    : options_(options),
      qkv_(builder.parameters, {names.query, names.key, names.value}, options.hidden, options.hidden),
      attentionOutput_(builder.parameters, {names.attentionOutput}, options.hidden, options.hidden),
      attentionNorm_(builder.parameters, names.attentionNorm, options.hidden, options.normEpsilon),
      up_(builder.parameters, {names.up}, options.hidden, options.intermediate),
      down_(builder.parameters, {names.down}, options.intermediate, options.hidden),
      outputNorm_(builder.parameters, names.outputNorm, options.hidden, options.normEpsilon),
      attentionDropout_(builder.dropout(options.attentionDropout)),
      attentionOutputDropout_(builder.dropout(options.dropoutAfterAttention ? options.hiddenDropout : 0)),
      outputDropout_(builder.dropout(options.hiddenDropout)) {
  // Without it a model has the dropout places that it always had, and their masks.
  if (options.drophead > 0) drophead_ = builder.dropout(options.drophead);
}

at::Tensor PostNormLayer::distances(const Pass& pass) const {
  return options_.distanceBias ? options_.distanceBias->values(pass) : at::Tensor();
}

at::Tensor PostNormLayer::keptHeads(const at::Tensor& rows, const Pass& pass) const {
  const DropoutKey key = drophead_.key(pass);
  if (!key.active()) return rows;
  const int64_t sequences = pass.tokens.sequences();
  const at::Tensor kept =
      kernels::dropoutOfRows(at::ones({sequences, options_.heads}, rows.options().dtype(at::kFloat)),
                             at::arange(sequences, rows.options().dtype(at::kLong)), key);
  return rows.view({rows.size(0), options_.heads, -1})
      .mul(kept.index_select(0, sequenceOfTokens(pass)).unsqueeze(2))
      .to(rows.scalar_type())
      .view_as(rows);
}

Stream PostNormLayer::forward(const Stream& x, const Pass& pass, Tape* tape) const {
  const bool save = tape != nullptr;
  at::Tensor qkv = qkv_.forward(x.rows, pass);
  kernels::Attention attention =
      kernels::attention(qkv, pass.sequences(), options_.heads, distances(pass), attentionDropout_.key(pass));
  at::Tensor projected = attentionOutput_.product(keptHeads(attention.out, pass), pass);
  kernels::Norm middle = attentionNorm_.forward(projected, attentionOutput_.bias(pass), x.rows,
                                                attentionOutputDropout_.key(pass), pass, save);
  if (!save) {
    qkv.reset();
    attention = {};
  }
  at::Tensor up = up_.product(middle.y, pass);
  at::Tensor down = down_.product(kernels::activation(up, up_.bias(pass), options_.activation), pass);
  kernels::Norm output =
      outputNorm_.forward(down, down_.bias(pass), middle.y, outputDropout_.key(pass), pass, save);
  if (!save) return {std::move(output.y)};
  Stream y = outputNorm_.stream(std::exchange(output.y, {}), output, pass);
  *tape = LayerTape{x.kept(),          std::move(qkv), std::move(attention), withoutOutput(std::move(middle)),
                    std::move(output), std::move(up)};
  return y;
}

at::Tensor PostNormLayer::backward(const at::Tensor& dy, Tape kept, const Pass& pass) const {
  auto tape = std::any_cast<LayerTape>(std::move(kept));
  kernels::NormGradients output =
      outputNorm_.backward(dy, tape.outputNorm, outputDropout_.key(pass), down_.biasGradient(pass), pass);
  tape.outputNorm = {};
  output.y.reset();
  kernels::ActivationGradients activation =
      kernels::activationBackward(down_.inputGradient(output.x, pass), tape.up, up_.bias(pass),
                                  options_.activation, up_.biasGradient(pass));
  tape.up.reset();
  down_.addWeightGradient(output.x, activation.y, pass);
  output.x.reset();
  activation.y.reset();

  // The feed-forward's input gradient and the residual's meet here.
  at::Tensor dmiddle = up_.addInputGradient(std::move(output.sum), activation.x, pass);
  kernels::NormGradients middle =
      attentionNorm_.backward(dmiddle, tape.attentionNorm, attentionOutputDropout_.key(pass),
                              attentionOutput_.biasGradient(pass), pass);
  tape.attentionNorm = {};
  up_.addWeightGradient(activation.x, middle.y, pass);
  activation = {};
  middle.y.reset();

  at::Tensor dattention = keptHeads(attentionOutput_.inputGradient(middle.x, pass), pass);
  attentionOutput_.addWeightGradient(middle.x, keptHeads(tape.attention.out, pass), pass);
  middle.x.reset();
  const at::Tensor distanceGradient =
      options_.distanceBias ? options_.distanceBias->zeroGradient(pass) : at::Tensor();
  at::Tensor dqkv =
      kernels::attentionBackward(dattention, tape.qkv, tape.attention, pass.sequences(), options_.heads,
                                 distances(pass), attentionDropout_.key(pass), distanceGradient);
  if (options_.distanceBias) options_.distanceBias->addGradient(distanceGradient, pass);
  qkv_.addWeightGradient(dqkv, tape.input.recalled(), pass);
  kernels::addColumnSum(qkv_.biasGradient(pass), dqkv);
  return qkv_.addInputGradient(std::move(middle.sum), dqkv, pass);
}

int64_t PostNormLayer::tapeBytes(const ChunkSize& chunk) const { return LayerTape::bytes(options_, chunk); }

}  // namespace gradcache
