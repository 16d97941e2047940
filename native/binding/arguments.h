// Arguments that the handles of models share.
#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "model/mode.h"
#include "model/parameters.h"

namespace gradcache::binding {

// float32, float64 or bfloat16; else DTYPE.
at::ScalarType precisionFrom(const std::string& name);
// 'inference', 'without-graph' or 'with-graph'; else INPUT.
Mode modeFrom(const std::string& name);
// The number under which jobs are cancelled together.
uint64_t groupFrom(const Napi::Value& value);
// [{ name, tensor, decay, trainable, linear, byRows, initial: { uniform } | { constant } | null }]
Napi::Value toParameterList(Napi::Env env, const Parameters& parameters);
// Lists of tensors from and to JavaScript; `what` names the list in messages.
std::vector<at::Tensor> tensorsFrom(const Napi::Value& value, const char* what);
Napi::Array toTensorList(Napi::Env env, std::vector<at::Tensor>& tensors);

}  // namespace gradcache::binding
