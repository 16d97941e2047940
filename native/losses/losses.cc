#include "losses/losses.h"

#include <cmath>
#include <map>

#include "core/error.h"

namespace gradcache {

namespace {

const std::map<std::string, MakeLoss*> kLosses{
    {"info_nce", infoNce},
    {"nt_xent", ntXent},
    {"siglip", sigLip},
};

Measure measureFrom(const Settings& settings) {
  const Measure measure{settings.truth("cosine"), settings.number("scale"),
                        settings.has("bias") ? settings.number("bias") : 0, settings.truth("learned")};
  require(std::isfinite(measure.scale) && measure.scale > 0, "INPUT",
          "the scale of similarities must be positive and finite, it is ", measure.scale);
  return measure;
}

}  // namespace

LossResult computeLoss(const std::string& name, const std::vector<at::Tensor>& representations,
                       const Settings& settings) {
  const auto found = kLosses.find(name);
  require(found != kLosses.end(), "INPUT", "there is no loss '", name, "'");
  const std::unique_ptr<TiledLoss> loss = found->second(settings);
  const Measure measure = measureFrom(settings);
  const double weight = settings.number("weight");
  settings.requireAllRead();
  at::NoGradGuard withoutGraph;
  Similarity similarity(representations, measure);
  return compute(*loss, similarity, weight);
}

}  // namespace gradcache
