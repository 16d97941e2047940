// JavaScript values to and from the arguments and results of an operator, by the operator's own schema.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/stack.h>

#include <napi.h>

namespace gradcache::binding {

// `argument` names the schema argument in messages. Throws DTYPE, SHAPE or OPERATOR.
c10::IValue toIValue(const Napi::Value& value, const c10::Argument& argument);
// -0 is a real number: a division by it is not a division by 0. Beside integer tensors alone it is the
// integer 0, as an offset that comes out as -0 must not turn them into floats.
void negativeZerosBesideIntegers(const c10::FunctionSchema& schema, torch::jit::Stack& arguments);
Napi::Value fromIValue(Napi::Env env, const c10::IValue& value);

}  // namespace gradcache::binding
