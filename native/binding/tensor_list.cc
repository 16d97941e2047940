#include "binding/tensor_list.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "binding/async.h"
#include "binding/tensor.h"
#include "binding/typed_array.h"
#include "core/error.h"

namespace gradcache::binding {

namespace {

// Marks the objects that are handles, also across two copies of the addon in one process.
constexpr napi_type_tag kTag{0x6772616463616368ull, 0x74656e736c730001ull};

constexpr uint32_t kMostTensors = 1u << 20;

Napi::Int32Array toJavaScript(Napi::Env env, const std::vector<int32_t>& numbers) {
  auto array = Napi::Int32Array::New(env, numbers.size());
  std::copy(numbers.begin(), numbers.end(), array.Data());
  return array;
}

std::vector<bool> areNonZero(const std::vector<at::Tensor>& tensors) {
  const at::NoGradGuard withoutGraph;
  std::vector<at::Tensor> each;  // all are launched before the first is waited for
  for (const at::Tensor& tensor : tensors) each.push_back(tensor.any());
  std::vector<bool> found;
  for (const at::Tensor& any : each) found.push_back(any.item<bool>());
  return found;
}

}  // namespace

void TensorListHandle::define(Napi::Env env, Napi::Object exports) {
  auto constructor = DefineClass(env, "TensorListHandle",
                                 {
                                     InstanceAccessor<&TensorListHandle::length>("length"),
                                     InstanceMethod<&TensorListHandle::select>("select"),
                                     InstanceMethod<&TensorListHandle::gradients>("gradients"),
                                     InstanceMethod<&TensorListHandle::alike>("alike"),
                                     InstanceMethod<&TensorListHandle::norm>("norm"),
                                     InstanceMethod<&TensorListHandle::anyNonZero>("anyNonZero"),
                                     InstanceMethod<&TensorListHandle::dispose>("dispose"),
                                 });
  Instance::of(env).tensorListConstructor = Napi::Persistent(constructor);
  exports.Set("TensorListHandle", constructor);
}

Napi::Object TensorListHandle::wrap(Napi::Env env, std::vector<at::Tensor> tensors) {
  Napi::Object object = Instance::of(env).tensorListConstructor.New({Napi::Array::New(env)});
  Unwrap(object)->tensors_ = std::move(tensors);
  return object;
}

bool TensorListHandle::is(const Napi::Value& value) {
  return value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&kTag);
}

const std::vector<at::Tensor>& TensorListHandle::get(const Napi::Value& value, const char* what) {
  require(is(value), "DTYPE", what, " must be a list of tensors");
  return Unwrap(value.As<Napi::Object>())->alive();
}

TensorListHandle::TensorListHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&] {
    require(info[0].IsArray(), "INPUT", "a list of tensors is made of an array");
    auto array = info[0].As<Napi::Array>();
    require(array.Length() <= kMostTensors, "INPUT", "a list has at most ", kMostTensors, " tensors, got ",
            array.Length());
    for (uint32_t k = 0; k < array.Length(); ++k) {
      Napi::HandleScope scope(info.Env());
      tensors_.push_back(TensorHandle::get(array.Get(k), "an element of the list"));
    }
  });
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

const std::vector<at::Tensor>& TensorListHandle::alive() const {
  require(!disposed_, "DISPOSED", "the list of tensors was used after dispose()");
  return tensors_;
}

Napi::Value TensorListHandle::length(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(tensors_.size()));
}

Napi::Value TensorListHandle::select(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::vector<at::Tensor>& all = alive();
    std::vector<at::Tensor> chosen;
    for (const int32_t place : int32Elements(info[0], "places")) {
      require(place >= 0 && static_cast<size_t>(place) < all.size(), "INPUT", "place ", place,
              " is not in a list of ", all.size(), " tensors");
      chosen.push_back(all[place]);
    }
    return wrap(info.Env(), std::move(chosen));
  });
}

Napi::Value TensorListHandle::gradients(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    std::vector<int32_t> places;
    std::vector<at::Tensor> found;
    const std::vector<at::Tensor>& all = alive();
    for (size_t k = 0; k < all.size(); ++k) {
      Instance::of(info.Env()).gradientsAtWork.refuse(all[k]);
      const at::Tensor& gradient = all[k].grad();
      if (!gradient.defined()) continue;
      places.push_back(static_cast<int32_t>(k));
      found.push_back(gradient);
    }
    auto result = Napi::Object::New(info.Env());
    result.Set("places", toJavaScript(info.Env(), places));
    result.Set("gradients", wrap(info.Env(), std::move(found)));
    return result;
  });
}

Napi::Value TensorListHandle::alike(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::vector<at::Tensor>& all = alive();
    const std::vector<int32_t> keys =
        info[0].IsUndefined() ? std::vector<int32_t>(all.size()) : int32Elements(info[0], "keys");
    require(keys.size() == all.size(), "INPUT", keys.size(), " keys for ", all.size(), " tensors");
    std::vector<std::vector<int32_t>> groups;  // in the order of each one's first tensor
    std::map<std::tuple<at::DeviceType, at::DeviceIndex, at::ScalarType, int32_t>, size_t> known;
    for (size_t k = 0; k < all.size(); ++k) {
      const at::Device device = all[k].device();
      const auto [found, first] =
          known.try_emplace({device.type(), device.index(), all[k].scalar_type(), keys[k]}, groups.size());
      if (first) groups.emplace_back();
      groups[found->second].push_back(static_cast<int32_t>(k));
    }
    auto array = Napi::Array::New(info.Env(), groups.size());
    for (size_t k = 0; k < groups.size(); ++k)
      array.Set(static_cast<uint32_t>(k), toJavaScript(info.Env(), groups[k]));
    return array;
  });
}

Napi::Value TensorListHandle::norm(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    require(!alive().empty(), "INPUT", "a list without tensors has no norm");
    return promise(
        info.Env(), 0, Devices(tensors_),
        [tensors = tensors_] {
          const at::NoGradGuard withoutGraph;
          // In double precision, so that rounding does not depend on how elements are cut into tensors.
          const auto norms = at::_foreach_norm(tensors, 2, at::kDouble);
          return at::linalg_vector_norm(at::stack(norms), 2).item().toDouble();
        },
        [](Napi::Env env, double norm) { return Napi::Number::New(env, norm); });
  });
}

Napi::Value TensorListHandle::anyNonZero(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return promise(
        info.Env(), 0, Devices(alive()), [tensors = tensors_] { return areNonZero(tensors); },
        [](Napi::Env env, const std::vector<bool>& found) {
          auto array = Napi::Array::New(env, found.size());
          for (size_t k = 0; k < found.size(); ++k)
            array.Set(static_cast<uint32_t>(k), Napi::Boolean::New(env, found[k]));
          return array;
        });
  });
}

Napi::Value TensorListHandle::dispose(const Napi::CallbackInfo& info) {
  disposed_ = true;
  tensors_.clear();  // jobs under way hold them on their own
  return info.Env().Undefined();
}

}  // namespace gradcache::binding
