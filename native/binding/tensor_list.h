// A JavaScript handle on a list of tensors (the native half of lib/tensor/tensor-list.ts): an operator takes
// it without looking at a handle for each.
#pragma once

#include <ATen/ATen.h>

#include <napi.h>

#include <vector>

namespace gradcache::binding {

class TensorListHandle : public Napi::ObjectWrap<TensorListHandle> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  static bool is(const Napi::Value& value);
  // Throws DTYPE when `value` is no such handle, DISPOSED when it was disposed; `what` names the argument.
  static const std::vector<at::Tensor>& get(const Napi::Value& value, const char* what);

  // new TensorListHandle(tensors: TensorHandle[])
  explicit TensorListHandle(const Napi::CallbackInfo& info);

 private:
  static Napi::Object wrap(Napi::Env env, std::vector<at::Tensor> tensors);
  const std::vector<at::Tensor>& alive() const;

  Napi::Value length(const Napi::CallbackInfo& info);
  // select(places: Int32Array): the list of these
  Napi::Value select(const Napi::CallbackInfo& info);
  // gradients(): { places, gradients }: the gradients of those that have one, and which these are
  Napi::Value gradients(const Napi::CallbackInfo& info);
  // alike(keys?: Int32Array): the places of those that share device, element type and key, a list for each
  Napi::Value alike(const Napi::CallbackInfo& info);
  // norm(): a promise of the 2-norm of all elements. The tensors share device and element type.
  Napi::Value norm(const Napi::CallbackInfo& info);
  // anyNonZero(): for each tensor a promise of whether an element is not zero, as one list
  Napi::Value anyNonZero(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  bool disposed_ = false;
  std::vector<at::Tensor> tensors_;
};

}  // namespace gradcache::binding
