// Word vectors alone, which the head pools: StaticEmbedding of sentence-transformers, Model2Vec.
#include "blocks/table_embeddings.h"
#include "blocks/word_embeddings.h"
#include "encoders/architectures.h"

namespace gradcache {

Architecture staticWords(const Settings& settings, Builder& builder) {
  TokenRules rules = tokenRules(settings);
  rules.unattended = false;  // nothing is attended to
  const int64_t width = settings.size("hidden");
  builder.add<WordEmbeddings>("embedding", rules.vocabulary, width, 0);
  return {rules, width};
}

}  // namespace gradcache
