// Element types as JavaScript names them.
#pragma once

#include <ATen/ATen.h>

#include <string>

namespace gradcache {

const char* dtypeName(at::ScalarType type);
// Throws DTYPE for a name that is none.
at::ScalarType dtypeFromName(const std::string& name);

}  // namespace gradcache
