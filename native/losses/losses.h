// The losses by name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/settings.h"
#include "losses/tiled_loss.h"

namespace gradcache {

// Makes a loss from its own settings.
using MakeLoss = std::unique_ptr<TiledLoss>(const Settings& settings);
MakeLoss infoNce;
MakeLoss sigLip;

// Computes the loss of this name. Every loss has the settings `cosine` (false: dot product), `scale`
// (multiplies similarities), `withoutSelf` (true: the first candidates are the anchors, and none is compared
// with itself), `learned` (true: slopes are wanted) and `weight` (multiplies gradients and slopes), and
// others of its own. Throws INPUT, SHAPE, DTYPE or DEVICE.
LossResult computeLoss(const std::string& name, const std::vector<at::Tensor>& representations,
                       const Settings& settings);

}  // namespace gradcache
