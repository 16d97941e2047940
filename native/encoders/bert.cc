// BERT (Devlin et al. 2019), and with it MiniLM, e5, bge, gte, RoBERTa: names of transformers' BertModel.
#include "blocks/post_norm_layer.h"
#include "blocks/table_embeddings.h"
#include "encoders/architectures.h"

namespace gradcache {

Architecture bert(const Settings& settings, Builder& builder) {
  const TokenRules rules = tokenRules(settings);
  const auto options = PostNormLayer::Options::from(settings);
  const TableEmbeddings::Names names{.types = "embeddings.token_type_embeddings"};
  builder.add<TableEmbeddings>(names, options.attention.hidden, rules, settings);
  for (int64_t k = 0; k < settings.size("layers", 1, kMostLayers); ++k)
    builder.add<PostNormLayer>(PostNormLayer::Names::ofBert(k), options);
  return {rules, options.attention.hidden};
}

}  // namespace gradcache
