#include "binding/language_model.h"

#include <utility>

#include "binding/arguments.h"
#include "binding/async.h"
#include "binding/segment_graph.h"
#include "binding/settings.h"
#include "binding/tensor.h"
#include "binding/typed_array.h"
#include "core/error.h"

namespace gradcache::binding {

namespace {

// Without the lengths of memory, which the caller may have put on a device: `remembered` brings them to the
// host.
struct GivenSegment {
  Segment segment;
  at::Tensor lengths;  // int32 [rows], or undefined

  Segment remembered() {
    if (lengths.defined()) {
      const at::Tensor host = lengths.to(at::TensorOptions().device(at::kCPU).dtype(at::kLong)).contiguous();
      const auto* data = host.const_data_ptr<int64_t>();
      segment.before.remembered.assign(data, data + host.numel());
    }
    return std::move(segment);
  }
};

int64_t wholeNumber(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  require(value.IsNumber(), "INPUT", name, " of a segment must be a number");
  return value.As<Napi::Number>().Int64Value();
}

GivenSegment segmentFrom(const Napi::Value& value) {
  require(value.IsObject(), "INPUT", "a segment must be an object");
  const auto object = value.As<Napi::Object>();
  GivenSegment given;
  given.segment.inputs = int32Elements(object.Get("inputs"), "inputs of a segment");
  if (object.Has("targets"))
    given.segment.targets = int32Elements(object.Get("targets"), "targets of a segment");
  given.segment.rows = wholeNumber(object, "rows");
  given.segment.memory = wholeNumber(object, "memoryTokens");
  given.segment.window = wholeNumber(object, "window");
  given.segment.before.state = tensorsFrom(object.Get("state"), "the state of a segment");
  given.segment.before.memory = tensorsFrom(object.Get("memory"), "the memory of a segment");
  // Behind the memory of the layers stands how many of its tokens are of each row's own text.
  if (!given.segment.before.memory.empty()) {
    given.lengths = std::move(given.segment.before.memory.back());
    given.segment.before.memory.pop_back();
  }
  return given;
}

void setState(Napi::Object object, SegmentState& after) {
  if (!after.memory.empty()) {
    at::Tensor lengths = at::empty({static_cast<int64_t>(after.remembered.size())}, at::kInt);
    std::copy(after.remembered.begin(), after.remembered.end(), lengths.mutable_data_ptr<int32_t>());
    after.memory.push_back(std::move(lengths));
  }
  object.Set("state", toTensorList(object.Env(), after.state));
  object.Set("memory", toTensorList(object.Env(), after.memory));
}

Sampling samplingFrom(const Napi::Value& value) {
  require(value.IsObject(), "INPUT", "how to draw a token must be an object");
  const auto object = value.As<Napi::Object>();
  return {object.Get("temperature").ToNumber().DoubleValue(), object.Get("topK").ToNumber().Int64Value(),
          object.Get("topP").ToNumber().DoubleValue()};
}

std::vector<double> numbersFrom(const Napi::Value& value) {
  require(value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_float64_array,
          "INPUT", "the random numbers must be a Float64Array");
  auto array = value.As<Napi::Float64Array>();
  return std::vector<double>(array.Data(), array.Data() + array.ElementLength());
}

}  // namespace

void LanguageModelHandle::define(Napi::Env env, Napi::Object exports) {
  exports.Set("LanguageModelHandle",
              DefineClass(env, "LanguageModelHandle",
                          {
                              InstanceMethod<&LanguageModelHandle::parameters>("parameters"),
                              InstanceMethod<&LanguageModelHandle::gradients>("gradients"),
                              InstanceMethod<&LanguageModelHandle::slots>("slots"),
                              InstanceMethod<&LanguageModelHandle::graphBytes>("graphBytes"),
                              InstanceMethod<&LanguageModelHandle::forward>("forward"),
                              InstanceMethod<&LanguageModelHandle::next>("next"),
                              InstanceMethod<&LanguageModelHandle::dispose>("dispose"),
                          }));
}

LanguageModelHandle::LanguageModelHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&] {
    const c10::Device device =
        info[2].IsNull() ? c10::Device(at::kMeta) : deviceFromName(nameFrom(info[2], "DEVICE", "device"));
    model_ = std::make_shared<LanguageModel>(settingsFrom("a language model", info[0]),
                                             precisionFrom(nameFrom(info[1], "DTYPE", "precision")), device);
  });
}

LanguageModel& LanguageModelHandle::alive() {
  require(model_ != nullptr, "DISPOSED", "the language model was used after dispose()");
  return *model_;
}

Napi::Value LanguageModelHandle::parameters(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return toParameterList(info.Env(), alive().parameters()); });
}

Napi::Value LanguageModelHandle::gradients(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return TensorHandle::wrap(info.Env(), alive().parameters().flatGradients());
  });
}

Napi::Value LanguageModelHandle::slots(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto list = Napi::Array::New(info.Env());
    for (const CarriedSlot& slot : alive().slots()) {
      auto entry = Napi::Object::New(info.Env());
      entry.Set("kind", slot.kind == CarriedKind::kState ? "state" : "memory");
      entry.Set("width", static_cast<double>(slot.width));
      list.Set(list.Length(), entry);
    }
    return list;
  });
}

Napi::Value LanguageModelHandle::graphBytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(),
                             static_cast<double>(alive().graphBytes(info[0].ToNumber().Int64Value(),
                                                                    info[1].ToNumber().Int64Value())));
  });
}

Napi::Value LanguageModelHandle::forward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    require(info[1].IsNumber(), "INPUT", "the seed must be a number");
    return promise(
        info.Env(), groupFrom(info[3]), Devices(alive().parameters().flatGradients().device()),
        [model = model_, given = segmentFrom(info[0]),
         seed = static_cast<uint64_t>(info[1].As<Napi::Number>().Int64Value()),
         mode = modeFrom(info[2].ToString())]() mutable {
          return model->forward(given.remembered(), seed, mode);
        },
        [](Napi::Env env, SegmentResult& result) {
          auto object = Napi::Object::New(env);
          object.Set("losses", TensorHandle::wrap(env, std::move(result.losses)));
          object.Set("loss", result.loss);
          object.Set("penalty", result.penalty);
          setState(object, result.after);
          object.Set("graph",
                     result.graph ? SegmentGraphHandle::wrap(env, std::move(result.graph)) : env.Null());
          return object;
        });
  });
}

Napi::Value LanguageModelHandle::next(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return promise(
        info.Env(), groupFrom(info[3]), Devices(alive().parameters().flatGradients().device()),
        [model = model_, given = segmentFrom(info[0]), sampling = samplingFrom(info[1]),
         numbers = numbersFrom(info[2])]() mutable {
          return model->next(given.remembered(), sampling, numbers);
        },
        [](Napi::Env env, std::pair<std::vector<int32_t>, SegmentState>& result) {
          auto object = Napi::Object::New(env);
          auto tokens = Napi::Int32Array::New(env, result.first.size());
          std::copy(result.first.begin(), result.first.end(), tokens.Data());
          object.Set("tokens", tokens);
          setState(object, result.second);
          return object;
        });
  });
}

Napi::Value LanguageModelHandle::dispose(const Napi::CallbackInfo& info) {
  model_.reset();  // jobs under way, and graphs, hold it on their own
  return info.Env().Undefined();
}

}  // namespace gradcache::binding
