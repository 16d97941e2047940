#include "binding/typed_array.h"

#include "core/error.h"

namespace gradcache::binding {

std::vector<int32_t> int32Elements(const Napi::Value& value, const char* what) {
  require(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_int32_array, "INPUT",
          what, " must be an Int32Array");
  auto array = value.As<Napi::Int32Array>();
  const int32_t* data = array.Data();
  return std::vector<int32_t>(data, data + array.ElementLength());
}

std::vector<uint8_t> uint8Elements(const Napi::Value& value, const char* what) {
  require(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, "INPUT",
          what, " must be a Uint8Array");
  auto array = value.As<Napi::Uint8Array>();
  const uint8_t* data = array.Data();
  return std::vector<uint8_t>(data, data + array.ElementLength());
}

}  // namespace gradcache::binding
