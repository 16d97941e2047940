// Rounding by chance.
#pragma once

#include <napi.h>

namespace gradcache::binding {

// roundStochastically(targets, sources, seed): writes lists of float32 tensors into bfloat16 ones of the same
// layout, see core/rounding.h; a promise. Throws DTYPE or SHAPE.
Napi::Value roundStochastically(const Napi::CallbackInfo& info);

}  // namespace gradcache::binding
