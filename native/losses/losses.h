// The losses that there are, by name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/settings.h"
#include "losses/tiled_loss.h"

namespace gradcache {

// A loss as its file makes it from its own settings.
using MakeLoss = std::unique_ptr<TiledLoss>(const Settings& settings);
MakeLoss infoNce;
MakeLoss sigLip;

// Computes the loss of this name. Every loss has the settings `cosine` (else the dot product), `scale` (what
// similarities are multiplied by), `learned` (whether slopes are wanted) and `weight` (what gradients and
// slopes are multiplied by); the others are its own. Throws INPUT, SHAPE, DTYPE or DEVICE.
LossResult computeLoss(const std::string& name, const std::vector<at::Tensor>& representations,
                       const Settings& settings);

}  // namespace gradcache
