// Lists of whole numbers from JavaScript.
#pragma once

#include <napi.h>

#include <cstdint>
#include <vector>

namespace gradcache::binding {

// A copy of the elements of an Int32Array. Throws INPUT for anything else; `what` names the argument.
std::vector<int32_t> int32Elements(const Napi::Value& value, const char* what);
// A copy of the elements of a Uint8Array, likewise.
std::vector<uint8_t> uint8Elements(const Napi::Value& value, const char* what);

}  // namespace gradcache::binding
