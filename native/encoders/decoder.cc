// Llama (Touvron et al. 2023) and its kin, as encoders: Mistral, Qwen 2 and 3, Gemma 2 and 3, and EuroBERT,
// which attends in both directions. Settings say in what they differ.
#include "blocks/final_norm.h"
#include "blocks/pre_norm_layer.h"
#include "blocks/table_embeddings.h"
#include "blocks/word_embeddings.h"
#include "core/error.h"
#include "encoders/architectures.h"
#include "encoders/layer_plan.h"

namespace gradcache {

namespace {

kernels::AttentionForm formIn(const Settings& settings) {
  const int64_t heads = settings.size("heads"), keyHeads = settings.size("keyHeads");
  require(heads % keyHeads == 0, "CHECKPOINT", heads, " heads of queries are no multiple of ", keyHeads,
          " heads of keys");
  return {.heads = heads,
          .keyHeads = keyHeads,
          .size = settings.size("headSize"),
          .scale = settings.number("scale"),
          .causal = settings.truth("causal"),
          .softCap = settings.number("softCap")};
}

PreNormLayer::Names namesOf(const std::string& root, bool headNorms, bool sandwich) {
  const std::string attention = root + ".self_attn", mlp = root + ".mlp";
  PreNormLayer::Names names{
      .attentionNorm = root + ".input_layernorm",
      .attention = {{attention + ".q_proj", attention + ".k_proj", attention + ".v_proj"},
                    attention + ".o_proj",
                    headNorms ? attention + ".q_norm" : "",
                    headNorms ? attention + ".k_norm" : ""},
      .attentionOutputNorm = {},
      .feedForwardNorm = root + ".post_attention_layernorm",
      .feedForward = {{mlp + ".gate_proj", mlp + ".up_proj"}, mlp + ".down_proj"},
      .feedForwardOutputNorm = {}};
  if (sandwich) {
    names.attentionOutputNorm = root + ".post_attention_layernorm";
    names.feedForwardNorm = root + ".pre_feedforward_layernorm";
    names.feedForwardOutputNorm = root + ".post_feedforward_layernorm";
  }
  return names;
}

}  // namespace

Architecture decoder(const Settings& settings, Builder& builder) {
  const TokenRules rules = tokenRules(settings);
  const int64_t hidden = settings.size("hidden");
  const NormStyle norm{settings.number("normEpsilon"), false, kernels::NormKind::kRootSquare,
                       settings.number("normOffset")};
  const bool bias = settings.truth("feedForwardBias");
  PreNormLayer::Options options{
      .attention = {.hidden = hidden,
                    .form = formIn(settings),
                    .bias = settings.truth("attentionBias"),
                    .outputBias = settings.truth("outputBias"),
                    .normEpsilon = norm.epsilon,
                    .normOffset = norm.offset,
                    .dropout = settings.number("attentionDropout")},
      .feedForward = {.hidden = hidden,
                      .intermediate = settings.size("intermediate"),
                      .activation = kernels::activationNamed(settings.text("activation")),
                      .gate = kernels::GateOrder::kGateFirst,
                      .upBias = bias,
                      .downBias = bias},
      .norm = norm,
      .drophead = settings.has("drophead") ? settings.number("drophead") : 0};
  const bool headNorms = settings.truth("headNorms"), sandwich = settings.truth("sandwich");
  const LayerPlan plan = layerPlan(settings, options.attention.form.size);
  builder.add<WordEmbeddings>("embed_tokens", rules.vocabulary, hidden, 0.0,
                              settings.number("embeddingScale"), Initial{});
  for (size_t k = 0; k < plan.layers(); ++k) {
    options.attention.form.window = plan.windows[k];
    options.attention.rotary = plan.rotary[k];
    builder.add<PreNormLayer>(namesOf("layers." + std::to_string(k), headNorms, sandwich), options);
  }
  builder.add<FinalNorm>("norm", hidden, norm);
  return {rules, hidden, /*behind=*/1};
}

}  // namespace gradcache
