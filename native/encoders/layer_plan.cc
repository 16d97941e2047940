#include "encoders/layer_plan.h"

#include "core/error.h"
#include "kernels/attention/attention.h"

namespace gradcache {

LayerPlan layerPlan(const Settings& settings, int64_t headSize) {
  const auto layers = static_cast<size_t>(settings.size("layers", 1, kMostLayers));
  std::vector<std::shared_ptr<const RotaryTable>> tables;
  for (const Settings& rotation : settings.list("rotations"))
    tables.push_back(std::make_shared<const RotaryTable>(rotation, headSize));
  const std::vector<int64_t>&windows = settings.integers("windows"),
        &chosen = settings.integers("rotationOfLayer");
  require(windows.size() == layers && chosen.size() == layers, "CHECKPOINT", "windows and rotations are of ",
          windows.size(), " and ", chosen.size(), " layers, the encoder has ", layers);
  LayerPlan plan;
  for (size_t k = 0; k < layers; ++k) {
    require(windows[k] >= -1, "CHECKPOINT", "a window reaches ", windows[k], " tokens far");
    plan.windows.push_back(windows[k] < 0 ? kernels::AttentionForm::kUnlimited : windows[k]);
    require(chosen[k] >= 0 && static_cast<size_t>(chosen[k]) < tables.size(), "CHECKPOINT", "layer ", k,
            " has rotation ", chosen[k], " of ", tables.size());
    plan.rotary.push_back(tables[static_cast<size_t>(chosen[k])]);
  }
  return plan;
}

}  // namespace gradcache
