// BERT (Devlin et al. 2019), and with it MiniLM, e5, bge, gte, RoBERTa: names of transformers' BertModel.
#include "blocks/post_norm_layer.h"
#include "blocks/table_embeddings.h"
#include "encoders/architectures.h"

namespace gradcache {

Architecture bert(const Settings& settings, Builder& builder) {
  const TokenRules rules = tokenRules(settings);
  const auto options = PostNormLayer::Options::from(settings);
  const TableEmbeddings::Names names{.types = "embeddings.token_type_embeddings"};
  builder.add<TableEmbeddings>(names, options.hidden, rules, settings);
  for (int64_t k = 0; k < settings.size("layers", 1, kMostLayers); ++k) {
    const std::string root = "encoder.layer." + std::to_string(k);
    builder.add<PostNormLayer>(
        PostNormLayer::Names{root + ".attention.self.query", root + ".attention.self.key",
                             root + ".attention.self.value", root + ".attention.output.dense",
                             root + ".attention.output.LayerNorm", root + ".intermediate.dense",
                             root + ".output.dense", root + ".output.LayerNorm"},
        options);
  }
  return {rules, options.hidden};
}

}  // namespace gradcache
