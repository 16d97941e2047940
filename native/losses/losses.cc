#include "losses/losses.h"

#include <ATen/DeviceGuard.h>

#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "core/error.h"
#include "losses/levels.h"
#include "losses/multi_vector.h"

namespace gradcache {

namespace {

const std::map<std::string, MakeLoss*> kLosses{
    {"batch_triplets", batchTriplets},
    {"class_nt_xent", classNtXent},
    {"gist_embed", gistEmbed},
    {"info_nce", infoNce},
    {"mega_batch_margin", megaBatchMargin},
    {"multi_similarity", multiSimilarity},
    {"nt_xent", ntXent},
    {"siglip", sigLip},
    {"sup_con", supCon},
};

Measure measureFrom(const Settings& settings) {
  const Measure measure{settings.truth("cosine"),
                        settings.number("scale"),
                        settings.has("bias") ? settings.number("bias") : 0,
                        settings.truth("learned"),
                        settings.has("fast") && settings.truth("fast"),
                        settings.has("split") && settings.truth("split")};
  require(std::isfinite(measure.scale) && measure.scale > 0, "INPUT",
          "the scale of similarities must be positive and finite, it is ", measure.scale);
  return measure;
}

// The lengths that representations are cut to; none: they stay as they are.
std::vector<Length> lengthsFrom(const Settings& settings) {
  if (!settings.has("lengths")) return {};
  const std::vector<int64_t>& dimensions = settings.integers("lengths");
  const std::vector<double>& weights = settings.numbers("lengthWeights");
  require(dimensions.size() == weights.size(), "SHAPE", "there are ", dimensions.size(), " lengths and ",
          weights.size(), " weights");
  std::vector<Length> lengths;
  for (size_t k = 0; k < dimensions.size(); ++k) lengths.push_back({dimensions[k], weights[k]});
  return lengths;
}

}  // namespace

LossResult computeLoss(const std::string& name, const std::vector<at::Tensor>& representations,
                       const Settings& settings, const Share* share) {
  if (name == "multi_vector") return multiVectorLoss(representations, settings, share);
  const auto found = kLosses.find(name);
  require(found != kLosses.end(), "INPUT", "there is no loss '", name, "'");
  found->second(settings);  // reads its settings
  const Measure measure = measureFrom(settings);
  const double weight = settings.number("weight");
  std::vector<bool> trained;
  if (settings.has("trained")) {
    for (const int64_t each : settings.integers("trained")) trained.push_back(each != 0);
    require(trained.size() == representations.size(), "SHAPE", trained.size(),
            " towers are said to be trained or not, of ", representations.size());
  }
  const auto guides = settings.has("guides") ? settings.size("guides", 0) : 0;
  const std::vector<Length> lengths = lengthsFrom(settings);
  settings.requireAllRead();
  require(guides <= static_cast<int64_t>(representations.size()), "SHAPE", "there are ", guides,
          " guides among ", representations.size(), " representations");
  at::NoGradGuard withoutGraph;
  // Kernels of our own run on the current device.
  const c10::OptionalDeviceGuard onDevice(at::device_of(at::TensorList(representations)));
  const auto own = representations.end() - guides;
  const std::vector<at::Tensor> compared(representations.begin(), own);
  std::optional<Similarity> guide;
  if (guides > 0) guide.emplace(std::vector<at::Tensor>(own, representations.end()), Measure{});
  const auto make = [&] {
    std::unique_ptr<TiledLoss> made = found->second(settings);
    if (guide) made->guideBy(*guide);
    return made;
  };
  if (!lengths.empty()) return Levels(compared, measure, trained, lengths, share).compute(make, weight);
  Similarity similarity(compared, measure, std::move(trained), share);
  return compute(*make(), similarity, weight);
}

}  // namespace gradcache
