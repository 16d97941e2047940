#include "binding/settings.h"

#include <utility>

#include "binding/tensor.h"
#include "core/error.h"

namespace gradcache::binding {

namespace {

// A copy of the elements: an Int32Array holds whole numbers, a Float64Array any.
Settings::Value elementsOf(const std::string& owner, const std::string& name, const Napi::TypedArray& value) {
  if (value.TypedArrayType() == napi_float64_array) {
    const auto array = value.As<Napi::Float64Array>();
    return std::vector<double>(array.Data(), array.Data() + array.ElementLength());
  }
  require(value.TypedArrayType() == napi_int32_array, "INPUT", "setting '", name, "' of ", owner,
          " is a typed array, but neither an Int32Array nor a Float64Array");
  const auto array = value.As<Napi::Int32Array>();
  return std::vector<int64_t>(array.Data(), array.Data() + array.ElementLength());
}

Settings::Value valueFrom(const std::string& owner, const std::string& name, const Napi::Value& value) {
  if (value.IsNumber()) return value.As<Napi::Number>().DoubleValue();
  if (value.IsBoolean()) return value.As<Napi::Boolean>().Value();
  if (value.IsString()) return value.As<Napi::String>().Utf8Value();
  if (value.IsTypedArray()) return elementsOf(owner, name, value.As<Napi::TypedArray>());
  require(value.IsArray(), "INPUT", "setting '", name, "' of ", owner, " is of a kind that no setting has");
  const auto array = value.As<Napi::Array>();
  if (array.Length() == 0 || !array.Get(uint32_t{0}).IsObject()) return integers(value, name.c_str());
  std::vector<Settings> list;
  for (uint32_t k = 0; k < array.Length(); ++k)
    list.push_back(settingsFrom("an entry of '" + name + "' of " + owner, array.Get(k)));
  return list;
}

}  // namespace

Settings settingsFrom(const std::string& owner, const Napi::Value& value) {
  require(value.IsObject() && !value.IsArray(), "INPUT", "the settings of ", owner, " must be an object");
  const auto object = value.As<Napi::Object>();
  const Napi::Array names = object.GetPropertyNames();
  std::map<std::string, Settings::Value> values;
  for (uint32_t k = 0; k < names.Length(); ++k) {
    const std::string name = names.Get(k).ToString();
    const Napi::Value each = object.Get(name);
    if (!each.IsNull() && !each.IsUndefined()) values.emplace(name, valueFrom(owner, name, each));
  }
  return Settings(owner, std::move(values));
}

}  // namespace gradcache::binding
