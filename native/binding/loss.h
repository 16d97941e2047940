#pragma once

#include <napi.h>

namespace gradcache::binding {

// infoNce(representations, { scale, cosine, symmetric, learned, targets, weight }): promise of { loss,
// gradients, logScaleGradient }.
Napi::Value infoNce(const Napi::CallbackInfo& info);

}  // namespace gradcache::binding
