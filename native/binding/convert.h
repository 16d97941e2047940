// JavaScript values to and from the arguments and results of an operator, by the operator's own schema.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/stack.h>

#include <napi.h>

namespace gradcache::binding {

// `argument` names the schema argument in messages. Throws DTYPE, SHAPE or OPERATOR.
c10::IValue toIValue(const Napi::Value& value, const c10::Argument& argument);
// -0 counts as a real number, because dividing by it differs from dividing by 0. If all tensors hold
// integers, it becomes the integer 0: an offset computed as -0 must not turn them into floats.
void negativeZerosBesideIntegers(const c10::FunctionSchema& schema, torch::jit::Stack& arguments);
Napi::Value fromIValue(Napi::Env env, const c10::IValue& value);

}  // namespace gradcache::binding
