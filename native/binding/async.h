// A promise for work on an engine.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "binding/errors.h"
#include "binding/instance.h"

namespace gradcache::binding {

// Runs `work()` on the engine of `devices` (engine.h says in which order) and returns a promise of
// `convert(env, result)`, evaluated on the JavaScript thread. `work` must hold C++ values only. A cancelled
// job rejects with ABORTED.
template <class Work, class Convert>
Napi::Value promise(Napi::Env env, uint64_t group, const Devices& devices, Work work, Convert convert) {
  using Result = std::invoke_result_t<Work>;
  struct Outcome final : Instance::Delivery {
    Outcome(Napi::Promise::Deferred d, Convert c) : deferred(d), convert(std::move(c)) {}
    void deliver(Napi::Env env) override {
      if (failure) {
        deferred.Reject(toJavaScript(env, *failure).Value());
        return;
      }
      try {
        deferred.Resolve(guarded(env, [&] { return Napi::Value(convert(env, *result)); }));
      } catch (const Napi::Error& error) {
        deferred.Reject(error.Value());
      }
    }
    Napi::Promise::Deferred deferred;
    Convert convert;
    std::optional<Result> result;
    std::optional<ErrorReport> failure;
  };
  auto deferred = Napi::Promise::Deferred::New(env);
  auto outcome =
      std::make_shared<std::unique_ptr<Outcome>>(std::make_unique<Outcome>(deferred, std::move(convert)));
  Instance::of(env).submit(group, devices, [outcome, work = std::move(work)](bool cancelled) mutable {
    std::unique_ptr<Outcome> done = std::move(*outcome);
    if (cancelled) {
      done->failure = ErrorReport{"ABORTED", "the work was cancelled before it began"};
    } else {
      try {
        done->result.emplace(work());
      } catch (...) {
        done->failure = describeCurrentException();
      }
    }
    return std::unique_ptr<Instance::Delivery>(std::move(done));
  });
  return deferred.Promise();
}

}  // namespace gradcache::binding
