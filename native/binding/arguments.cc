#include "binding/arguments.h"

#include <utility>

#include "binding/tensor.h"
#include "core/dtype.h"
#include "core/error.h"

namespace gradcache::binding {

namespace {

Napi::Value initialOf(Napi::Env env, const Initial& initial) {
  if (initial.kind == Initial::Kind::kUsual) return env.Null();
  auto object = Napi::Object::New(env);
  object.Set(initial.kind == Initial::Kind::kUniform ? "uniform" : "constant", initial.value);
  return object;
}

}  // namespace

at::ScalarType precisionFrom(const std::string& name) {
  require(name == "float32" || name == "float64" || name == "bfloat16", "DTYPE", "precision '", name,
          "' is not known; use float32, float64 or bfloat16");
  return dtypeFromName(name);
}

Mode modeFrom(const std::string& name) {
  if (name == "inference") return Mode::kInference;
  if (name == "without-graph") return Mode::kWithoutGraph;
  require(name == "with-graph", "INPUT", "mode '", name, "' is not known");
  return Mode::kWithGraph;
}

uint64_t groupFrom(const Napi::Value& value) {
  require(value.IsNumber(), "INPUT", "the group must be a number");
  return static_cast<uint64_t>(value.As<Napi::Number>().Int64Value());
}

Napi::Value toParameterList(Napi::Env env, const Parameters& parameters) {
  auto array = Napi::Array::New(env, parameters.size());
  for (size_t k = 0; k < parameters.size(); ++k) {
    const ParameterSpec& spec = parameters.spec(k);
    auto entry = Napi::Object::New(env);
    entry.Set("name", spec.name);
    entry.Set("tensor", TensorHandle::wrap(env, parameters.value(k)));
    entry.Set("decay", spec.decay);
    entry.Set("trainable", spec.trainable);
    entry.Set("linear", spec.linear);
    entry.Set("byRows", spec.byRows);
    entry.Set("initial", initialOf(env, spec.initial));
    array.Set(static_cast<uint32_t>(k), entry);
  }
  return array;
}

std::vector<at::Tensor> tensorsFrom(const Napi::Value& value, const char* what) {
  require(value.IsArray(), "INPUT", what, " must be a list of tensors");
  const auto list = value.As<Napi::Array>();
  std::vector<at::Tensor> tensors;
  for (uint32_t k = 0; k < list.Length(); ++k) tensors.push_back(TensorHandle::get(list.Get(k), what));
  return tensors;
}

Napi::Array toTensorList(Napi::Env env, std::vector<at::Tensor>& tensors) {
  auto list = Napi::Array::New(env, tensors.size());
  for (size_t k = 0; k < tensors.size(); ++k)
    list.Set(static_cast<uint32_t>(k), TensorHandle::wrap(env, std::move(tensors[k])));
  return list;
}

}  // namespace gradcache::binding
