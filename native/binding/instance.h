// What belongs to one Node environment (the main thread, or one worker thread): nothing native is shared
// between two.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "binding/gradients_at_work.h"
#include "distributed/group.h"
#include "engine/engine.h"

namespace gradcache::binding {

class Instance {
 public:
  explicit Instance(Napi::Env env);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  static Instance& of(Napi::Env env) { return *env.GetInstanceData<Instance>(); }

  // A result on its way from an engine to the JavaScript thread.
  class Delivery {
   public:
    virtual ~Delivery() = default;
    // On the JavaScript thread.
    virtual void deliver(Napi::Env env) = 0;
  };

  // Runs `job` on the engine of these devices; what it returns is delivered on the JavaScript thread, or
  // dropped when the environment is going away. Keeps the event loop alive until then.
  void submit(uint64_t group, const Devices& devices,
              std::function<std::unique_ptr<Delivery>(bool cancelled)> job);
  // Whether something runs or waits on any engine.
  bool working() const { return pending_ > 0; }
  Engines& engines() { return engines_; }
  // Ends what runs or waits on any engine, exchanges between ranks too.
  void shutdown();

  Napi::FunctionReference tensorConstructor;
  Napi::FunctionReference operatorConstructor;
  Napi::FunctionReference tensorListConstructor;
  Napi::FunctionReference tokenBatchConstructor;
  Napi::FunctionReference segmentGraphConstructor;
  Napi::FunctionReference groupConstructor;
  GradientsAtWork gradientsAtWork;
  std::vector<std::weak_ptr<distributed::Group>> groups;  // all that were joined

 private:
  static void deliverOnJavaScriptThread(napi_env env, napi_value, void* context, void* data);

  Napi::Env env_;
  Engines engines_;
  napi_threadsafe_function channel_ = nullptr;
  size_t pending_ = 0;
};

}  // namespace gradcache::binding
