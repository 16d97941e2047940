// A JavaScript handle on the graph of a segment that a language model has read.
#pragma once

#include <napi.h>

#include <memory>

#include "language/language_model.h"

namespace gradcache::binding {

class SegmentGraphHandle : public Napi::ObjectWrap<SegmentGraphHandle> {
 public:
  static void define(Napi::Env env);
  static Napi::Object wrap(Napi::Env env, std::shared_ptr<SegmentGraph> graph);

  explicit SegmentGraphHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {}

 private:
  // backward(seed, stateGradient: list | null, group): a promise of the gradient of the state before
  Napi::Value backward(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<SegmentGraph> graph_;
};

}  // namespace gradcache::binding
