// How tensors lie in memory: what the fused optimizers of libtorch take for granted without asking.
#pragma once

#include <napi.h>

namespace gradcache::binding {

// requireDense(names, tensors): throws INPUT, with the tensor's name, where a tensor has gaps between its
// elements or has one element twice.
Napi::Value requireDense(const Napi::CallbackInfo& info);
// requireAlike(what, names, tensors, others): requireDense, and each of `others` (null: none) lies as its
// tensor does. Throws SHAPE, DTYPE, DEVICE or INPUT with `what` it is and the tensor's name.
Napi::Value requireAlike(const Napi::CallbackInfo& info);

}  // namespace gradcache::binding
