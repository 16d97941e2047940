// ALBERT (Lan et al. 2020): BERT with narrow embeddings, and one layer that is gone through again and again.
// All its passes of a text drop out the same elements.
#include "blocks/post_norm_layer.h"
#include "blocks/projection.h"
#include "blocks/table_embeddings.h"
#include "encoders/architectures.h"

namespace gradcache {

Architecture albert(const Settings& settings, Builder& builder) {
  const TokenRules rules = tokenRules(settings);
  const auto options = PostNormLayer::Options::from(settings);
  const int64_t embedding = settings.size("embedding"), hidden = options.attention.hidden;
  const TableEmbeddings::Names names{.types = "embeddings.token_type_embeddings"};
  builder.add<TableEmbeddings>(names, embedding, rules, settings);
  builder.add<Projection>("encoder.embedding_hidden_mapping_in", embedding, hidden);
  const std::string root = "encoder.albert_layer_groups.0.albert_layers.0";
  builder.add<PostNormLayer>(
      PostNormLayer::Names{{{root + ".attention.query", root + ".attention.key", root + ".attention.value"},
                            root + ".attention.dense",
                            {},
                            {}},
                           root + ".attention.LayerNorm",
                           {{root + ".ffn"}, root + ".ffn_output"},
                           root + ".full_layer_layer_norm"},
      options);
  const int64_t layers = settings.size("layers", 1, kMostLayers);
  for (int64_t k = 1; k < layers; ++k) builder.repeat();
  return {rules, hidden};
}

}  // namespace gradcache
