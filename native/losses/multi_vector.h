// Losses of late interaction: of towers with a representation per token.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "core/settings.h"
#include "losses/share.h"
#include "losses/tiled_loss.h"

namespace gradcache {

// `representations` are the queries, then one or more towers of documents, [tokens, dimension] each, and
// behind them the scores of the teacher [queries, towers of documents] or margins [queries, towers - 1] for
// the losses that learn from one. Settings: `loss` (ranking, distill_kl or margin_mse), `towers` (one for
// each, with `offsets`, or without where each row has one representation), `similarity`, `topK`, `weight`,
// and `scale` and perhaps `targets` (ranking) or `temperature` and `teacherTemperature` (distill_kl). Throws
// INPUT, SHAPE, DTYPE or DEVICE. With a share the scores are those of its part of the queries.
LossResult multiVectorLoss(std::vector<at::Tensor> representations, const Settings& settings,
                           const Share* share);

}  // namespace gradcache
