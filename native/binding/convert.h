// JavaScript values to and from the arguments and results of an operator, by the operator's own schema.
#pragma once

#include <ATen/ATen.h>

#include <napi.h>

namespace gradcache::binding {

// `argument` names the schema argument in messages. Throws DTYPE, SHAPE or OPERATOR.
c10::IValue toIValue(const Napi::Value& value, const c10::Argument& argument);
Napi::Value fromIValue(Napi::Env env, const c10::IValue& value);

}  // namespace gradcache::binding
