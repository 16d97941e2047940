// The encoder of T5 (Raffel et al. 2020): norms in front, no biases, and a learned bias by distance that all
// layers share.
#include "blocks/distance_bias.h"
#include "blocks/final_norm.h"
#include "blocks/pre_norm_layer.h"
#include "blocks/table_embeddings.h"
#include "blocks/word_embeddings.h"
#include "encoders/architectures.h"

namespace gradcache {

Architecture t5(const Settings& settings, Builder& builder) {
  const TokenRules rules = tokenRules(settings);
  const int64_t hidden = settings.size("hidden"), heads = settings.size("heads");
  const double dropout = settings.number("hiddenDropout");
  const NormStyle norm{settings.number("normEpsilon"), false, kernels::NormKind::kRootSquare};
  kernels::AttentionForm form = kernels::AttentionForm::plain(heads, settings.size("headSize"));
  form.scale = 1;
  const bool gated = settings.truth("gated");
  PreNormLayer::Options options{
      .attention = {.hidden = hidden, .form = form, .bias = false, .outputBias = false, .dropout = dropout},
      .feedForward = {.hidden = hidden,
                      .intermediate = settings.size("intermediate"),
                      .activation = kernels::activationNamed(settings.text("activation")),
                      .upBias = false,
                      .downBias = false,
                      .dropout = dropout},
      .norm = norm,
      .attentionOutputDropout = dropout,
      .feedForwardOutputDropout = dropout,
      .drophead = settings.has("drophead") ? settings.number("drophead") : 0};
  if (gated) options.feedForward.gate = kernels::GateOrder::kGateFirst;
  builder.add<WordEmbeddings>("shared", rules.vocabulary, hidden, dropout, 1.0, Initial{});
  options.attention.distanceBias = std::make_shared<DistanceBias>(
      "encoder.block.0.layer.0.SelfAttention.relative_attention_bias", settings.size("relativeBuckets", 4),
      settings.size("relativeDistance", 1), heads, rules.positions, builder);
  const int64_t layers = settings.size("layers", 1, kMostLayers);
  for (int64_t k = 0; k < layers; ++k) {
    const std::string root = "encoder.block." + std::to_string(k) + ".layer.";
    const std::string attention = root + "0.SelfAttention", dense = root + "1.DenseReluDense";
    const std::vector<std::string> up =
        gated ? std::vector{dense + ".wi_0", dense + ".wi_1"} : std::vector{dense + ".wi"};
    builder.add<PreNormLayer>(
        PreNormLayer::Names{
            .attentionNorm = root + "0.layer_norm",
            .attention = {{attention + ".q", attention + ".k", attention + ".v"}, attention + ".o", {}, {}},
            .attentionOutputNorm = {},
            .feedForwardNorm = root + "1.layer_norm",
            .feedForward = {up, dense + ".wo"},
            .feedForwardOutputNorm = {}},
        options);
  }
  builder.add<FinalNorm>("encoder.final_layer_norm", hidden, norm, dropout);
  return {rules, hidden, /*behind=*/1};
}

}  // namespace gradcache
