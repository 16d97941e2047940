// DeBERTa v2 and v3 (He et al. 2021 and 2023): BERT's layers, whose attention weighs distances apart from
// content.
#include "blocks/normed_embeddings.h"
#include "blocks/post_norm_layer.h"
#include "blocks/table_embeddings.h"
#include "encoders/architectures.h"

namespace gradcache {

namespace {

void addEmbeddings(const TokenRules& rules, const PostNormLayer::Options& options, const Settings& settings,
                   Builder& builder) {
  const std::string types = rules.types > 0 ? "embeddings.token_type_embeddings" : "";
  if (settings.truth("positionTable")) {
    builder.add<TableEmbeddings>(TableEmbeddings::Names{.types = types}, options.attention.hidden, rules,
                                 settings);
  } else {
    builder.add<NormedEmbeddings>(
        NormedEmbeddings::Names{"embeddings.word_embeddings", types, "embeddings.LayerNorm"},
        options.attention.hidden, rules, options.norm, options.dropout);
  }
}

// The vectors of distances, and how layers use them; none without the setting span.
std::optional<Disentangled::Options> disentangled(const TokenRules& rules,
                                                  const PostNormLayer::Options& options,
                                                  const Settings& settings, Builder& builder) {
  if (!settings.has("span")) return std::nullopt;
  const auto vectors = std::make_shared<const RelativeVectors>(
      RelativeVectors::Options{.name = "encoder.rel_embeddings",
                               .norm = settings.truth("distanceNorm") ? "encoder.LayerNorm" : "",
                               .span = settings.size("span"),
                               .farthest = settings.size("farthest", 0),
                               .width = options.attention.hidden,
                               .normEpsilon = options.norm.epsilon,
                               .most = rules.positions},
      builder);
  return Disentangled::Options{.vectors = vectors,
                               .keys = settings.truth("distanceKeys"),
                               .queries = settings.truth("distanceQueries"),
                               .keyProduct = {},
                               .queryProduct = {},
                               .dropout = options.dropout};
}

}  // namespace

Architecture debertaV2(const Settings& settings, Builder& builder) {
  TokenRules rules = tokenRules(settings);
  rules.unattended = false;  // its attention also weighs distances
  auto options = PostNormLayer::Options::from(settings);
  options.attention.form.scale = settings.number("scale");
  addEmbeddings(rules, options, settings, builder);
  options.attention.disentangled = disentangled(rules, options, settings, builder);
  const bool ownProducts = options.attention.disentangled && settings.truth("distanceProducts");
  for (int64_t k = 0; k < settings.size("layers", 1, kMostLayers); ++k) {
    PostNormLayer::Names names = PostNormLayer::Names::ofBert(k);
    const std::string self = "encoder.layer." + std::to_string(k) + ".attention.self.";
    names.attention.projections = {self + "query_proj", self + "key_proj", self + "value_proj"};
    if (ownProducts) {
      Disentangled::Options& positions = *options.attention.disentangled;
      if (positions.keys) positions.keyProduct = self + "pos_key_proj";
      if (positions.queries) positions.queryProduct = self + "pos_query_proj";
    }
    builder.add<PostNormLayer>(names, options);
  }
  return {rules, options.attention.hidden};
}

}  // namespace gradcache
