// ELECTRA (Clark et al. 2020): BERT whose embeddings may have another width than its layers, with a
// projection between the two.
#include "blocks/post_norm_layer.h"
#include "blocks/projection.h"
#include "blocks/table_embeddings.h"
#include "encoders/architectures.h"

namespace gradcache {

Architecture electra(const Settings& settings, Builder& builder) {
  const TokenRules rules = tokenRules(settings);
  const auto options = PostNormLayer::Options::from(settings);
  const int64_t embedding = settings.size("embedding"), hidden = options.attention.hidden;
  const TableEmbeddings::Names names{.types = "embeddings.token_type_embeddings"};
  builder.add<TableEmbeddings>(names, embedding, rules, settings);
  if (embedding != hidden) builder.add<Projection>("embeddings_project", embedding, hidden);
  for (int64_t k = 0; k < settings.size("layers", 1, kMostLayers); ++k)
    builder.add<PostNormLayer>(PostNormLayer::Names::ofBert(k), options);
  return {rules, hidden};
}

}  // namespace gradcache
