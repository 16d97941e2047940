// The kernels as operators of libtorch, `gradcache::…`, with autograd: what an encoder written in TypeScript
// calls.
#pragma once

namespace gradcache::kernels {

// Registers the operators with libtorch's dispatcher, once for the process, from any thread. Operators that
// another copy of the addon has registered are kept.
void registerOperators();

}  // namespace gradcache::kernels
