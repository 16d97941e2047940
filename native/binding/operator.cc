#include "binding/operator.h"

#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "binding/async.h"
#include "binding/convert.h"
#include "binding/fresh_results.h"
#include "binding/tensor.h"
#include "binding/written_tensors.h"
#include "core/error.h"
#include "core/seeded_generators.h"

namespace gradcache::binding {

namespace {

// The overloads that exist, for someone who mistyped one.
std::string overloadsOf(const std::string& name) {
  std::string found;
  for (const auto& known : c10::Dispatcher::singleton().getAllOpNames()) {
    if (known.name == name)
      found += (found.empty() ? "" : ", ") +
               (known.overload_name.empty() ? name : name + "." + known.overload_name);
  }
  return found.empty() ? "no operator of that name exists" : "there are " + found;
}

void callBoxed(const c10::OperatorHandle& handle, torch::jit::Stack& stack, bool besideWork) {
  // Drawing here would disturb a thread that draws under a seed.
  std::unique_lock<GeneratorMutex> turn(generatorMutex(), std::defer_lock);
  if (handle.hasTag(at::Tag::nondeterministic_seeded)) turn.lock();
  const WrittenTensors written(handle, stack);
  std::optional<FreshResults> fresh;
  if (besideWork && written.wantsFreshResults(stack)) fresh.emplace(handle.schema(), stack);
  try {
    handle.callBoxed(stack);
  } catch (...) {
    written.putBackShapes();
    throw;
  }
  if (fresh && !fresh->deliver(stack)) written.refuseExchange();
}

Napi::Value results(Napi::Env env, const torch::jit::Stack& stack) {
  if (stack.empty()) return env.Undefined();
  if (stack.size() == 1) return fromIValue(env, stack[0]);
  auto array = Napi::Array::New(env, stack.size());
  for (size_t k = 0; k < stack.size(); ++k) array.Set(static_cast<uint32_t>(k), fromIValue(env, stack[k]));
  return array;
}

}  // namespace

void OperatorHandle::define(Napi::Env env, Napi::Object exports) {
  auto constructor = DefineClass(env, "OperatorHandle",
                                 {
                                     InstanceAccessor<&OperatorHandle::schema>("schema"),
                                     InstanceMethod<&OperatorHandle::call>("call"),
                                     InstanceMethod<&OperatorHandle::callAsync>("callAsync"),
                                 });
  exports.Set("OperatorHandle", constructor);
}

OperatorHandle::OperatorHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&] {
    require(info[0].IsString() && info[1].IsString(), "OPERATOR", "an operator is named by two strings");
    std::string name = info[0].As<Napi::String>();
    std::string overload = info[1].As<Napi::String>();
    handle_ = c10::Dispatcher::singleton().findSchema({name, overload});
    require(handle_.has_value(), "OPERATOR", "no operator ", name, overload.empty() ? "" : ".", overload,
            ": ", overloadsOf(name));
  });
}

torch::jit::Stack OperatorHandle::arguments(Napi::Env env, const Napi::Value& positional,
                                            const Napi::Value& named) const {
  const c10::FunctionSchema& schema = handle_->schema();
  require(positional.IsArray(), "OPERATOR", "positional arguments must be an array");
  auto values = positional.As<Napi::Array>();
  require(values.Length() <= schema.arguments().size(), "OPERATOR", values.Length(), " arguments given, ",
          schema, " takes ", schema.arguments().size());
  Napi::Object keywords = named.IsObject() ? named.As<Napi::Object>() : Napi::Object();
  size_t keywordsUsed = 0;
  torch::jit::Stack stack;
  stack.reserve(schema.arguments().size());
  for (size_t k = 0; k < schema.arguments().size(); ++k) {
    const c10::Argument& argument = schema.arguments()[k];
    Napi::Value value = env.Undefined();
    if (k < values.Length()) value = values.Get(static_cast<uint32_t>(k));
    if (!keywords.IsEmpty() && keywords.HasOwnProperty(argument.name())) {
      require(value.IsUndefined(), "OPERATOR", "argument '", argument.name(), "' is given twice");
      value = keywords.Get(argument.name());
      ++keywordsUsed;
    }
    if (!value.IsUndefined()) {
      stack.push_back(toIValue(value, argument));
    } else {
      require(argument.default_value().has_value() || argument.type()->kind() == c10::TypeKind::OptionalType,
              "OPERATOR", "argument '", argument.name(), "' is missing: ", schema);
      stack.push_back(argument.default_value().value_or(c10::IValue()));
    }
  }
  negativeZerosBesideIntegers(schema, stack);
  if (!keywords.IsEmpty()) {
    auto names = keywords.GetPropertyNames();
    for (uint32_t k = 0; names.Length() != keywordsUsed && k < names.Length(); ++k) {
      const std::string name = names.Get(k).ToString();
      require(schema.argumentIndexWithName(name).has_value(), "OPERATOR", "no argument '", name,
              "': ", schema);
    }
  }
  return stack;
}

Napi::Value OperatorHandle::schema(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&]() -> Napi::Value { return Napi::String::New(info.Env(), c10::str(handle_->schema())); });
}

Napi::Value OperatorHandle::call(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    torch::jit::Stack stack = arguments(info.Env(), info[0], info[1]);
    callBoxed(*handle_, stack, Instance::of(info.Env()).working());
    return results(info.Env(), stack);
  });
}

Napi::Value OperatorHandle::callAsync(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    torch::jit::Stack stack = arguments(info.Env(), info[0], info[1]);
    Devices devices;
    for (const c10::IValue& argument : stack) devices.add(argument);
    return promise(
        info.Env(), 0, devices,
        [handle = *handle_, stack = std::move(stack)]() mutable {
          at::NoGradGuard withoutGraph;
          callBoxed(handle, stack, /*besideWork=*/false);
          return std::move(stack);
        },
        results);
  });
}

}  // namespace gradcache::binding
