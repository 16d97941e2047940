#include "binding/instance.h"

#include <utility>

#include "binding/errors.h"

namespace gradcache::binding {

Instance::Instance(Napi::Env env) : env_(env) {
  napi_value name = Napi::String::New(env, "gradcache engines");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this,
                                      deliverOnJavaScriptThread, &channel_) != napi_ok) {
    throw Napi::Error::New(env, "gradcache: the engines' channel could not be made");
  }
  napi_unref_threadsafe_function(env, channel_);
  // Registered after the channel and so run before it closes: no engine outlives the channel.
  env.AddCleanupHook([this] { shutdown(); });
}

Instance::~Instance() { shutdown(); }

void Instance::shutdown() {
  for (const auto& group : groups)
    if (const auto joined = group.lock()) joined->stop();
  engines_.shutdown();
}

void Instance::submit(uint64_t group, const Devices& devices,
                      std::function<std::unique_ptr<Delivery>(bool)> job) {
  engines_.submit(group, devices, [channel = channel_, job = std::move(job)](bool cancelled) mutable {
    std::unique_ptr<Delivery> delivery = job(cancelled);
    job = nullptr;
    if (napi_call_threadsafe_function(channel, delivery.get(), napi_tsfn_nonblocking) == napi_ok) {
      static_cast<void>(delivery.release());  // deliverOnJavaScriptThread takes it back
    }
  });
  // Delivery runs on this thread, so not before this line. A failed submission keeps no event loop alive.
  if (pending_++ == 0) napi_ref_threadsafe_function(env_, channel_);
}

void Instance::deliverOnJavaScriptThread(napi_env env, napi_value, void* context, void* data) {
  std::unique_ptr<Delivery> delivery(static_cast<Delivery*>(data));
  if (env == nullptr) return;  // the environment is going away: nobody is left to tell
  auto* instance = static_cast<Instance*>(context);
  Napi::HandleScope scope(env);
  if (--instance->pending_ == 0) napi_unref_threadsafe_function(env, instance->channel_);
  try {
    delivery->deliver(env);
  } catch (const Napi::Error&) {
    // Only a terminating worker makes settling a promise fail.
  }
}

}  // namespace gradcache::binding
