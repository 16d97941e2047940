// Encoders of layers of SRU (Lei et al. 2018) or SRU++ (Lei 2021) over word vectors.
#include <algorithm>

#include "blocks/sru_layer.h"
#include "blocks/table_embeddings.h"
#include "blocks/word_embeddings.h"
#include "encoders/architectures.h"

namespace gradcache {

namespace {

SruLayer::Options layerOptions(const Settings& settings) {
  SruLayer::Options options{.cell = {.in = settings.size("embedding"), .width = settings.size("hidden")}};
  options.cell.bidirectional = settings.truth("bidirectional");
  options.cell.rescale = settings.truth("rescale");
  options.cell.highwayBias = settings.number("highwayBias");
  options.cell.dropout = settings.number("hiddenDropout");
  options.norm = normPlaceNamed(settings.text("norm"));
  options.normEpsilon = settings.number("normEpsilon");
  return options;
}

// `attend` says which layers have attention; null: layers of SRU.
Architecture build(const Settings& settings, Builder& builder, SruLayer::Options options,
                   const std::vector<int64_t>* attend) {
  TokenRules rules = tokenRules(settings);
  rules.unattended = false;  // each token goes into the state of those behind it
  const int64_t layers = settings.size("layers", 1, kMostLayers);
  const double dropout = options.cell.dropout;
  builder.add<WordEmbeddings>("embeddings", rules.vocabulary, options.cell.in, dropout);
  for (int64_t k = 0; k < layers; ++k) {
    // As published, what follows the last layer decides on its dropout.
    options.cell.dropout = k + 1 < layers ? dropout : 0;
    if (attend != nullptr)
      options.attentive->attention = std::find(attend->begin(), attend->end(), k) != attend->end();
    builder.add<SruLayer>("layers." + std::to_string(k), options);
    options.cell.in = options.cell.width;
  }
  return {rules, options.cell.width};
}

}  // namespace

Architecture sru(const Settings& settings, Builder& builder) {
  return build(settings, builder, layerOptions(settings), nullptr);
}

Architecture srupp(const Settings& settings, Builder& builder) {
  SruLayer::Options options = layerOptions(settings);
  options.attentive.emplace(
      AttentiveProjection::Options{.width = settings.size("projected"),
                                   .heads = settings.size("heads"),
                                   .dropout = settings.number("hiddenDropout"),
                                   .attentionDropout = settings.number("attentionDropout"),
                                   .normEpsilon = settings.number("normEpsilon")});
  return build(settings, builder, options, &settings.integers("attentionLayers"));
}

}  // namespace gradcache
