#include "language/recurrent_layers.h"

#include <string>
#include <utility>

#include "blocks/gated_layer.h"
#include "blocks/qrnn_layer.h"
#include "blocks/sru_layer.h"
#include "core/error.h"

namespace gradcache {

namespace {

void addSru(const std::string& name, int64_t in, const Settings& settings, bool attentive, Builder& builder) {
  const double dropout = settings.number("dropout"), epsilon = settings.number("normEpsilon");
  SruLayer::Options options{.cell = {.in = in, .width = settings.size("width")}};
  options.cell.rescale = settings.truth("rescale");
  options.cell.highwayBias = settings.number("highwayBias");
  options.cell.dropout = dropout;
  options.norm = normPlaceNamed(settings.text("norm"));
  options.normEpsilon = epsilon;
  if (attentive) {
    options.attentive.emplace(
        AttentiveProjection::Options{.width = settings.size("projected"),
                                     .attention = settings.truth("attention"),
                                     .heads = settings.size("heads"),
                                     .causal = true,
                                     .dropout = settings.number("projectionDropout"),
                                     .attentionDropout = settings.number("attentionDropout"),
                                     .normEpsilon = epsilon});
  }
  builder.add<SruLayer>(name, options);
}

void addQrnn(const std::string& name, int64_t in, const Settings& settings, Builder& builder) {
  builder.add<QrnnLayer>(name, QrnnLayer::Options{.in = in,
                                                  .width = settings.size("width"),
                                                  .window = settings.size("window"),
                                                  .dropout = settings.number("dropout"),
                                                  .weightDropout = settings.number("weightDropout")});
}

void addGated(const std::string& name, int64_t in, const Settings& settings, GatedLayer::Kind kind,
              Builder& builder) {
  builder.add<GatedLayer>(name, GatedLayer::Options{.kind = kind,
                                                    .in = in,
                                                    .width = settings.size("width"),
                                                    .dropout = settings.number("dropout"),
                                                    .weightDropout = settings.number("weightDropout")});
}

}  // namespace

int64_t addRecurrentLayers(int64_t width, const Settings& settings, Builder& builder) {
  int64_t number = 0;
  for (const Settings& layer : settings.list("layers")) {
    const std::string name = "layers." + std::to_string(number++);
    const std::string& kind = layer.text("kind");
    if (kind == "sru" || kind == "sru++") {
      addSru(name, width, layer, kind == "sru++", builder);
    } else if (kind == "qrnn") {
      addQrnn(name, width, layer, builder);
    } else {
      require(kind == "lstm" || kind == "gru", "INPUT", "there is no recurrent layer '", kind, "'");
      addGated(name, width, layer, kind == "lstm" ? GatedLayer::Kind::kLstm : GatedLayer::Kind::kGru,
               builder);
    }
    width = layer.size("width");
  }
  return width;
}

}  // namespace gradcache
