// The kernels as operators of libtorch, `gradcache::…`, with autograd: what an encoder written in TypeScript
// calls.
#pragma once

namespace gradcache::kernels {

// Makes libtorch's dispatcher know the operators; once for the process, from whichever thread comes first.
// Operators that exist already, because another copy of the addon came before, are left as they are.
void registerOperators();

}  // namespace gradcache::kernels
