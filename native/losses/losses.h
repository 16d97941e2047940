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
MakeLoss batchTriplets;
MakeLoss classNtXent;
MakeLoss gistEmbed;
MakeLoss infoNce;
MakeLoss megaBatchMargin;
MakeLoss multiSimilarity;
MakeLoss ntXent;
MakeLoss sigLip;
MakeLoss supCon;

// Computes the loss of this name. Every loss has the settings `cosine` (false: dot product), `scale`
// (multiplies similarities), `bias` (added to them after that; default 0), `learned` (true: slopes are
// wanted), `fast` (true: in half precision, where the loss can; default false) and `weight` (multiplies
// gradients and slopes), and others of its own. `trained` (default: all) says of each of the representations
// whether its gradient is wanted, 1 or 0. `guides` (default 0) is how many of the representations, the last
// ones, are those of a guide, which judges by the cosine and gets no gradient. With `lengths` and
// `lengthWeights` it is the weighted sum of the loss at each of these lengths of the representations, by the
// cosine and not in half precision. `multi_vector` has the settings of multi_vector.h alone. Throws INPUT,
// SHAPE, DTYPE or DEVICE.
//
// With a `share` the result is this process's part of it; `multi_vector` has none.
LossResult computeLoss(const std::string& name, const std::vector<at::Tensor>& representations,
                       const Settings& settings, const Share* share = nullptr);

}  // namespace gradcache
