// A JavaScript handle on an at::Tensor (the native half of lib/tensor/tensor.ts).
#pragma once

#include <ATen/ATen.h>

#include <napi.h>

namespace gradcache::binding {

class TensorHandle : public Napi::ObjectWrap<TensorHandle> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  static Napi::Object wrap(Napi::Env env, at::Tensor tensor);
  static bool is(const Napi::Value& value);
  // Throws DTYPE when `value` is not a tensor, DISPOSED when it was disposed; `what` names the argument.
  static at::Tensor& get(const Napi::Value& value, const char* what);

  explicit TensorHandle(const Napi::CallbackInfo& info);
  ~TensorHandle() override;

 private:
  at::Tensor& alive(Napi::Env env);
  void adopt(Napi::Env env, at::Tensor tensor);

  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value dtype(const Napi::CallbackInfo& info);
  Napi::Value device(const Napi::CallbackInfo& info);
  Napi::Value elementBytes(const Napi::CallbackInfo& info);
  Napi::Value disposed(const Napi::CallbackInfo& info);
  Napi::Value requiresGrad(const Napi::CallbackInfo& info);
  void setRequiresGrad(const Napi::CallbackInfo& info, const Napi::Value& value);
  Napi::Value grad(const Napi::CallbackInfo& info);
  void setGrad(const Napi::CallbackInfo& info, const Napi::Value& value);
  Napi::Value item(const Napi::CallbackInfo& info);
  // copyTo(buffer, dtype), copyToSync(buffer, dtype): the elements, row by row, converted to a type, into the
  // whole of an ArrayBuffer. The caller keeps the buffer alive until the promise settles.
  Napi::Value copyTo(const Napi::CallbackInfo& info);
  Napi::Value copyToSync(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  at::Tensor tensor_;
  int64_t reported_ = 0;  // bytes told to V8
};

// tensorFromBytes(bytes, shape, dtype, device): the bytes are copied.
Napi::Value tensorFromBytes(const Napi::CallbackInfo& info);
// isTensor(value): whether it is a TensorHandle.
Napi::Value isTensor(const Napi::CallbackInfo& info);

c10::Device deviceFromName(const std::string& name);
// The string in a JavaScript value, without running its conversion methods. Throws `code`.
std::string nameFrom(const Napi::Value& value, const char* code, const char* what);
std::vector<int64_t> integers(const Napi::Value& value, const char* what);

}  // namespace gradcache::binding
