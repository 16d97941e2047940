// Any operator of libtorch, found once by name and called boxed: the native half of `call` in
// lib/tensor/operators.ts.
#pragma once

#include <napi.h>

#include <optional>

namespace gradcache::binding {

class OperatorHandle : public Napi::ObjectWrap<OperatorHandle> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  // new OperatorHandle('aten::add', 'Tensor'); throws OPERATOR with the overloads that exist.
  explicit OperatorHandle(const Napi::CallbackInfo& info);

 private:
  torch::jit::Stack arguments(Napi::Env env, const Napi::Value& positional, const Napi::Value& named) const;

  Napi::Value schema(const Napi::CallbackInfo& info);
  // call(positional: unknown[], named?: object): on this thread, under this thread's gradient mode.
  Napi::Value call(const Napi::CallbackInfo& info);
  // callAsync(positional, named): on the engine of its tensors, without a graph; a promise.
  Napi::Value callAsync(const Napi::CallbackInfo& info);

  std::optional<c10::OperatorHandle> handle_;
};

}  // namespace gradcache::binding
