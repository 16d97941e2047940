// ModernBERT (Warner et al. 2024): norms in front, rotary positions, a gated activation, and windows in most
// layers.
#include "blocks/final_norm.h"
#include "blocks/normed_embeddings.h"
#include "blocks/pre_norm_layer.h"
#include "blocks/table_embeddings.h"
#include "encoders/architectures.h"
#include "encoders/layer_plan.h"

namespace gradcache {

Architecture modernbert(const Settings& settings, Builder& builder) {
  const TokenRules rules = tokenRules(settings);
  const int64_t hidden = settings.size("hidden"), heads = settings.size("heads");
  require(hidden % heads == 0, "CHECKPOINT", "hidden size ", hidden, " is not a multiple of ", heads,
          " heads");
  const LayerPlan plan = layerPlan(settings, hidden / heads);
  const NormStyle norm{settings.number("normEpsilon"), settings.truth("normBias")};
  const bool attentionBias = settings.truth("attentionBias"), bias = settings.truth("feedForwardBias");
  PreNormLayer::Options options{
      .attention = {.hidden = hidden,
                    .form = kernels::AttentionForm::plain(heads, hidden / heads),
                    .bias = attentionBias,
                    .outputBias = attentionBias,
                    .dropout = settings.number("attentionDropout")},
      .feedForward = {.hidden = hidden,
                      .intermediate = settings.size("intermediate"),
                      .activation = kernels::activationNamed(settings.text("activation")),
                      .gate = kernels::GateOrder::kGateFirst,
                      .upBias = bias,
                      .downBias = bias,
                      .dropout = settings.number("feedForwardDropout")},
      .norm = norm,
      .attentionOutputDropout = settings.number("attentionDropout"),
      .drophead = settings.has("drophead") ? settings.number("drophead") : 0};
  builder.add<NormedEmbeddings>(NormedEmbeddings::Names{"embeddings.tok_embeddings", "", "embeddings.norm"},
                                hidden, rules, norm, settings.number("embeddingDropout"));
  for (size_t k = 0; k < plan.layers(); ++k) {
    const std::string root = "layers." + std::to_string(k);
    options.attention.form.window = plan.windows[k];
    options.attention.rotary = plan.rotary[k];
    builder.add<PreNormLayer>(
        // The first layer takes what the embeddings' norm gives.
        PreNormLayer::Names{.attentionNorm = k == 0 ? "" : root + ".attn_norm",
                            .attention = {{root + ".attn.Wqkv"}, root + ".attn.Wo", {}, {}},
                            .attentionOutputNorm = {},
                            .feedForwardNorm = root + ".mlp_norm",
                            .feedForward = {{root + ".mlp.Wi"}, root + ".mlp.Wo"},
                            .feedForwardOutputNorm = {}},
        options);
  }
  builder.add<FinalNorm>("final_norm", hidden, norm);
  return {rules, hidden, /*behind=*/1};
}

}  // namespace gradcache
