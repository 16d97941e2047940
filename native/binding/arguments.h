// Arguments that the handles of models share.
#pragma once

#include <napi.h>

#include <string>

#include "model/parameters.h"

namespace gradcache::binding {

// float32, float64 or bfloat16; else DTYPE.
at::ScalarType precisionFrom(const std::string& name);
// The number under which jobs are cancelled together.
uint64_t groupFrom(const Napi::Value& value);
// [{ name, tensor, decay, trainable, initial: { uniform } | { constant } | null }]
Napi::Value toParameterList(Napi::Env env, const Parameters& parameters);

}  // namespace gradcache::binding
