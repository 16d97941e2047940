// A JavaScript handle on a TokenBatch (the native half of lib/encoders/packed-tokens.ts).
#pragma once

#include <napi.h>

#include <memory>

#include "model/packed_tokens.h"

namespace gradcache::binding {

class TokenBatchHandle : public Napi::ObjectWrap<TokenBatchHandle> {
 public:
  static void define(Napi::Env env);
  static Napi::Object wrap(Napi::Env env, std::shared_ptr<const TokenBatch> batch);
  // Throws INPUT when `value` is no such handle, DISPOSED when it was disposed.
  static std::shared_ptr<const TokenBatch> get(const Napi::Value& value);

  explicit TokenBatchHandle(const Napi::CallbackInfo& info);

 private:
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<const TokenBatch> batch_;
};

}  // namespace gradcache::binding
