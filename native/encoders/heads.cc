#include "encoders/heads.h"

#include "blocks/vocabulary_transform.h"
#include "core/error.h"
#include "model/pooled_head.h"
#include "model/splade_head.h"
#include "model/token_head.h"

namespace gradcache {

namespace {

std::shared_ptr<const Head> makeSplade(int64_t width, const Settings& settings, Builder& builder) {
  require(settings.list("modules").empty(), "INPUT", "SPLADE has no modules behind it");
  const std::vector<Settings>& own = settings.list("splade");
  require(own.size() == 1, "INPUT", "SPLADE needs one record of settings, got ", own.size());
  if (own[0].has("dense")) builder.add<VocabularyTransform>(width, own[0]);
  return std::make_shared<const SpladeHead>(own[0], settings.size("vocabulary"), builder.parameters);
}

}  // namespace

std::shared_ptr<const Head> makeHead(int64_t width, const Settings& settings, Builder& builder) {
  if (settings.text("pooling") == "splade") return makeSplade(width, settings, builder);
  if (settings.text("pooling") == "none") return std::make_shared<const TokenHead>(width, settings, builder);
  return std::make_shared<const PooledHead>(width, settings, builder);
}

}  // namespace gradcache
