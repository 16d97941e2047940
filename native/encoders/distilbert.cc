// DistilBERT (Sanh et al. 2019): BERT's layer under names of its own, without token types and without
// dropout between attention and the residual.
#include "blocks/post_norm_layer.h"
#include "blocks/table_embeddings.h"
#include "encoders/architectures.h"

namespace gradcache {

Architecture distilbert(const Settings& settings, Builder& builder) {
  const TokenRules rules = tokenRules(settings);
  auto options = PostNormLayer::Options::from(settings);
  options.dropoutAfterAttention = false;
  builder.add<TableEmbeddings>(TableEmbeddings::Names{}, options.attention.hidden, rules, settings);
  for (int64_t k = 0; k < settings.size("layers", 1, kMostLayers); ++k) {
    const std::string root = "transformer.layer." + std::to_string(k);
    builder.add<PostNormLayer>(PostNormLayer::Names{{{root + ".attention.q_lin", root + ".attention.k_lin",
                                                      root + ".attention.v_lin"},
                                                     root + ".attention.out_lin",
                                                     {},
                                                     {}},
                                                    root + ".sa_layer_norm",
                                                    {{root + ".ffn.lin1"}, root + ".ffn.lin2"},
                                                    root + ".output_layer_norm"},
                               options);
  }
  return {rules, options.attention.hidden};
}

}  // namespace gradcache
