// The native half of lib/language/language-model.ts.
#pragma once

#include <napi.h>

#include <memory>

#include "language/language_model.h"

namespace gradcache::binding {

class LanguageModelHandle : public Napi::ObjectWrap<LanguageModelHandle> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  // new LanguageModelHandle(settings, precision, device): settings by name. With null for a device, nothing
  // is allocated: such a model has parameters and slots, and no passes.
  explicit LanguageModelHandle(const Napi::CallbackInfo& info);

 private:
  LanguageModel& alive();

  // [{ name, tensor, decay, trainable, initial }]
  Napi::Value parameters(const Napi::CallbackInfo& info);
  // The one tensor that all gradients are views of.
  Napi::Value gradients(const Napi::CallbackInfo& info);
  // [{ kind: 'state' | 'memory', width }]
  Napi::Value slots(const Napi::CallbackInfo& info);
  Napi::Value graphBytes(const Napi::CallbackInfo& info);
  // forward(segment, seed, mode: 'inference' | 'without-graph' | 'with-graph', group): a promise of
  // { losses, loss, penalty, state, memory, graph: SegmentGraphHandle | null }
  Napi::Value forward(const Napi::CallbackInfo& info);
  // next(segment, sampling: { temperature, topK, topP }, numbers, group): a promise of
  // { tokens: Int32Array, state, memory }
  Napi::Value next(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<LanguageModel> model_;
};

}  // namespace gradcache::binding
