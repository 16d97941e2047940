// Gradient mode, seeded random state and seeded backward.
#pragma once

#include <napi.h>

namespace gradcache::binding {

// withGradMode(enabled, fn): runs fn() with graph recording on or off, on this thread.
Napi::Value withGradMode(const Napi::CallbackInfo& info);
// withSeed(seed, fn): runs fn() with libtorch's default generators seeded, and restores them. No other code
// of this package draws from them meanwhile, on any thread of the process.
Napi::Value withSeed(const Napi::CallbackInfo& info);
// backward(roots, seeds, group = 0): promise; gradients add up in the leaves. A seed may be null for a root
// of one element. `group` names jobs that are cancelled together.
Napi::Value backward(const Napi::CallbackInfo& info);
// leaves(root, others): the tensors in which a backward from root adds up gradients, each once, without
// `others`.
Napi::Value leaves(const Napi::CallbackInfo& info);

}  // namespace gradcache::binding
