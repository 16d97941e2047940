// BERT with rotary positions and a gated activation: Nomic BERT (Nussbaum et al. 2024) and GTE (Zhang et al.
// 2024).
#include "blocks/normed_embeddings.h"
#include "blocks/post_norm_layer.h"
#include "blocks/table_embeddings.h"
#include "encoders/architectures.h"
#include "encoders/layer_plan.h"

namespace gradcache {

namespace {

using NamesOf = PostNormLayer::Names (*)(const std::string& layer);

// The modules of transformers, which its checkpoints have under the names of those who published the models.
PostNormLayer::Names namesOfModules(const std::string& layer) {
  const std::string attention = "layers." + layer + ".self_attn.";
  const std::string mlp = "layers." + layer + ".mlp.";
  return {{{attention + "q_proj", attention + "k_proj", attention + "v_proj"}, attention + "o_proj", {}, {}},
          "layers." + layer + ".post_attention_layernorm",
          {{mlp + "up_proj", mlp + "gate_proj"}, mlp + "down_proj"},
          "layers." + layer + ".post_mlp_layernorm"};
}

Architecture build(const Settings& settings, Builder& builder, const std::string& storedNorm,
                   NamesOf storedNames) {
  const bool modules = settings.truth("namedAsModules");
  const NamesOf namesOf = modules ? namesOfModules : storedNames;
  const TokenRules rules = tokenRules(settings);
  auto options = PostNormLayer::Options::from(settings);
  options.attention.bias = settings.truth("attentionBias");
  options.attention.outputBias = settings.truth("outputBias");
  options.feedForward.gate = kernels::GateOrder::kUpFirst;
  options.feedForward.upBias = settings.truth("upBias");
  options.feedForward.downBias = settings.truth("downBias");
  options.feedForward.dropout = settings.number("feedForwardDropout");
  const LayerPlan plan = layerPlan(settings, options.attention.form.size);
  builder.add<NormedEmbeddings>(
      NormedEmbeddings::Names{"embeddings.word_embeddings",
                              settings.size("types", 0) > 0 ? "embeddings.token_type_embeddings" : "",
                              modules ? "embeddings.LayerNorm" : storedNorm},
      options.attention.hidden, rules, options.norm, options.dropout);
  for (size_t k = 0; k < plan.layers(); ++k) {
    options.attention.rotary = plan.rotary[k];
    options.attention.form.window = plan.windows[k];
    builder.add<PostNormLayer>(namesOf(std::to_string(k)), options);
  }
  return {rules, options.attention.hidden};
}

PostNormLayer::Names namesOfNomic(const std::string& layer) {
  const std::string root = "encoder.layers." + layer;
  return {{{root + ".attn.Wqkv"}, root + ".attn.out_proj", {}, {}},
          root + ".norm1",
          {{root + ".mlp.fc11", root + ".mlp.fc12"}, root + ".mlp.fc2"},
          root + ".norm2"};
}

PostNormLayer::Names namesOfGte(const std::string& layer) {
  const std::string root = "encoder.layer." + layer;
  return {{{root + ".attention.qkv_proj"}, root + ".attention.o_proj", {}, {}},
          root + ".attn_ln",
          {{root + ".mlp.up_gate_proj"}, root + ".mlp.down_proj"},
          root + ".mlp_ln"};
}

}  // namespace

Architecture nomicBert(const Settings& settings, Builder& builder) {
  return build(settings, builder, "emb_ln", namesOfNomic);
}

Architecture gte(const Settings& settings, Builder& builder) {
  return build(settings, builder, "embeddings.LayerNorm", namesOfGte);
}

}  // namespace gradcache
