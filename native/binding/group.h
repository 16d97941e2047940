// A JavaScript handle on a Group (the native half of lib/distributed/ranks.ts).
#pragma once

#include <napi.h>

#include <memory>

#include "distributed/group.h"

namespace gradcache::binding {

// joinGroup({ host, port, rank, size, server, prefix, timeout, device, libtorchCuda }): a promise of a
// GroupHandle
Napi::Value joinGroup(const Napi::CallbackInfo& info);

// Exchanges have a queue of their own: a rank that waits for others goes on with its work. No tensor with
// memory is on this device.
inline c10::Device exchanges() { return c10::Device(at::kMeta); }

class GroupHandle : public Napi::ObjectWrap<GroupHandle> {
 public:
  static void define(Napi::Env env);
  static Napi::Object wrap(Napi::Env env, std::shared_ptr<distributed::Group> group);
  // Throws INPUT when `value` is no such handle, DISPOSED when it was closed.
  static std::shared_ptr<distributed::Group> get(const Napi::Value& value);

  explicit GroupHandle(const Napi::CallbackInfo& info);

 private:
  std::shared_ptr<distributed::Group> alive() const;

  // Each gives a promise; they run in the order of the calls, whatever their devices. `what` is for messages.
  Napi::Value meet(const Napi::CallbackInfo& info);           // (numbers: Float64Array, what): Float64Array
  Napi::Value allGather(const Napi::CallbackInfo& info);      // (all, counts, what)
  Napi::Value reduceScatter(const Napi::CallbackInfo& info);  // (all, counts, what, begins)
  Napi::Value allReduce(const Napi::CallbackInfo& info);      // (tensor, what, begins)
  Napi::Value broadcast(const Napi::CallbackInfo& info);      // (tensor, root, what)
  Napi::Value openBeside(const Napi::CallbackInfo& info);     // (what)
  Napi::Value finish(const Napi::CallbackInfo& info);         // (what)
  Napi::Value close(const Napi::CallbackInfo& info);
  void fail(const Napi::CallbackInfo& info);  // (reason)

  std::shared_ptr<distributed::Group> group_;
};

}  // namespace gradcache::binding
