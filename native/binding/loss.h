#pragma once

#include <napi.h>

namespace gradcache::binding {

// loss(name, representations, settings, group?, phase?): promise of { loss, gradients, slopes }
// (losses/tiled_loss.h). With a group it is the part of this rank; `phase` is the digest of what the ranks
// meet for (lib/distributed/meeting.ts).
Napi::Value loss(const Napi::CallbackInfo& info);

}  // namespace gradcache::binding
