#pragma once

#include <napi.h>

namespace gradcache::binding {

// loss(name, representations, settings): promise of { loss, gradients, slopes } (losses/tiled_loss.h).
Napi::Value loss(const Napi::CallbackInfo& info);

}  // namespace gradcache::binding
