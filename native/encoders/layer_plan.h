// What differs between the layers of an architecture: how far each attends, and how it turns heads.
#pragma once

#include <memory>
#include <vector>

#include "blocks/rotary_table.h"
#include "core/settings.h"

namespace gradcache {

struct LayerPlan {
  std::vector<int64_t> windows;  // of each layer; AttentionForm::kUnlimited: none
  std::vector<std::shared_ptr<const RotaryTable>> rotary;

  size_t layers() const { return windows.size(); }
};

// From the settings layers, windows (for each layer the farthest distance that it attends to, -1: all),
// rotations (records that RotaryTable reads) and rotationOfLayer (numbers of them, by layer).
LayerPlan layerPlan(const Settings& settings, int64_t headSize);

}  // namespace gradcache
