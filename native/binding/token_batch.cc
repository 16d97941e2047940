#include "binding/token_batch.h"

#include <utility>

#include "binding/instance.h"
#include "core/error.h"

namespace gradcache::binding {

namespace {
// Marks the objects that are handles, also across two copies of the addon in one process.
constexpr napi_type_tag kTag{0x6772616463616368ull, 0x746f6b656e730001ull};
}  // namespace

void TokenBatchHandle::define(Napi::Env env) {
  Instance::of(env).tokenBatchConstructor = Napi::Persistent(
      DefineClass(env, "TokenBatchHandle", {InstanceMethod<&TokenBatchHandle::dispose>("dispose")}));
}

Napi::Object TokenBatchHandle::wrap(Napi::Env env, std::shared_ptr<const TokenBatch> batch) {
  Napi::Object object = Instance::of(env).tokenBatchConstructor.New({});
  Unwrap(object)->batch_ = std::move(batch);
  return object;
}

std::shared_ptr<const TokenBatch> TokenBatchHandle::get(const Napi::Value& value) {
  require(value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&kTag), "INPUT",
          "the tokens of a chunk must be a packed batch");
  std::shared_ptr<const TokenBatch> batch = Unwrap(value.As<Napi::Object>())->batch_;
  require(batch != nullptr, "DISPOSED", "the packed batch was used after dispose()");
  return batch;
}

TokenBatchHandle::TokenBatchHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

Napi::Value TokenBatchHandle::dispose(const Napi::CallbackInfo& info) {
  batch_.reset();  // jobs under way hold it on their own
  return info.Env().Undefined();
}

}  // namespace gradcache::binding
