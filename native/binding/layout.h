// Checks of memory layout, which libtorch's fused optimizers assume without checking.
#pragma once

#include <napi.h>

namespace gradcache::binding {

// requireDense(names, list): throws INPUT with the tensor's name if its elements have gaps or overlap.
Napi::Value requireDense(const Napi::CallbackInfo& info);
// requireAlike(what, names, list, others, wider?): requireDense, and each tensor of the list `others` has its
// tensor's layout and type; `wider`: it may be float32 beside bfloat16. Throws SHAPE, DTYPE, DEVICE or INPUT
// with `what` and the tensor's name.
Napi::Value requireAlike(const Napi::CallbackInfo& info);

}  // namespace gradcache::binding
