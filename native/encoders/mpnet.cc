// MPNet (Song et al. 2020): no token types, and a learned bias by distance shared by all layers.
#include "blocks/post_norm_layer.h"
#include "blocks/table_embeddings.h"
#include "encoders/architectures.h"

namespace gradcache {

namespace {
constexpr int64_t kFarthest = 128;  // in transformers' code, whatever the configuration says
}

Architecture mpnet(const Settings& settings, Builder& builder) {
  const TokenRules rules = tokenRules(settings);
  auto options = PostNormLayer::Options::from(settings);
  builder.add<TableEmbeddings>(TableEmbeddings::Names{}, options.attention.hidden, rules, settings);
  options.attention.distanceBias =
      std::make_shared<DistanceBias>("encoder.relative_attention_bias", settings.size("relativeBuckets", 4),
                                     kFarthest, options.attention.form.heads, rules.positions, builder);
  for (int64_t k = 0; k < settings.size("layers", 1, kMostLayers); ++k) {
    const std::string root = "encoder.layer." + std::to_string(k);
    builder.add<PostNormLayer>(PostNormLayer::Names{{{root + ".attention.attn.q", root + ".attention.attn.k",
                                                      root + ".attention.attn.v"},
                                                     root + ".attention.attn.o",
                                                     {},
                                                     {}},
                                                    root + ".attention.LayerNorm",
                                                    {{root + ".intermediate.dense"}, root + ".output.dense"},
                                                    root + ".output.LayerNorm"},
                               options);
  }
  return {rules, options.attention.hidden};
}

}  // namespace gradcache
