#include "binding/group.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "binding/async.h"
#include "binding/instance.h"
#include "binding/settings.h"
#include "binding/tensor.h"
#include "core/error.h"

namespace gradcache::binding {

namespace {

// Marks the objects that are handles, also across two copies of the addon in one process.
constexpr napi_type_tag kTag{0x6772616463616368ull, 0x67726f7570000001ull};

distributed::GroupOptions optionsFrom(const Napi::Value& value) {
  const Settings settings = settingsFrom("the ranks", value);
  distributed::GroupOptions options;
  options.host = settings.text("host");
  options.port = static_cast<uint16_t>(settings.number("port"));
  options.rank = static_cast<int>(settings.number("rank"));
  options.size = static_cast<int>(settings.number("size"));
  options.server = settings.truth("server");
  options.prefix = settings.text("prefix");
  options.timeout = std::chrono::milliseconds(static_cast<int64_t>(settings.number("timeout")));
  options.device = deviceFromName(settings.text("device"));
  options.libtorchCuda = settings.text("libtorchCuda");
  return options;
}

// Beside the device of a tensor, so that all exchanges wait for one another, whatever their tensors.
Devices devicesOf(c10::Device device) {
  Devices devices{exchanges()};
  devices.add(device);
  return devices;
}

// A promise of nothing for an exchange of a tensor. One that is only begun does not wait for what the
// tensor's device computes: nothing adds to its elements any more, and NCCL waits for the kernels before.
template <class Exchange>
Napi::Value exchange(Napi::Env env, const std::shared_ptr<distributed::Group>& group,
                     const at::Tensor& tensor, const Napi::Value& begins, Exchange run) {
  const bool begun = begins.IsBoolean() && begins.As<Napi::Boolean>().Value();
  return promise(
      env, 0, begun ? Devices(exchanges()) : devicesOf(tensor.device()),
      [group, begun, run = std::move(run)] {
        if (begun)
          group->begin(run);
        else
          run();
        return true;
      },
      [](Napi::Env env, bool) { return env.Undefined(); });
}

}  // namespace

Napi::Value joinGroup(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto group = std::make_shared<distributed::Group>(optionsFrom(info[0]));
    Instance::of(info.Env()).groups.emplace_back(group);
    return promise(
        info.Env(), 0, devicesOf(group->device()),
        [group] {
          group->join();
          return group;
        },
        [](Napi::Env env, std::shared_ptr<distributed::Group>& group) -> Napi::Value {
          return GroupHandle::wrap(env, std::move(group));
        });
  });
}

void GroupHandle::define(Napi::Env env) {
  Instance::of(env).groupConstructor =
      Napi::Persistent(DefineClass(env, "GroupHandle",
                                   {
                                       InstanceMethod<&GroupHandle::meet>("meet"),
                                       InstanceMethod<&GroupHandle::allGather>("allGather"),
                                       InstanceMethod<&GroupHandle::reduceScatter>("reduceScatter"),
                                       InstanceMethod<&GroupHandle::allReduce>("allReduce"),
                                       InstanceMethod<&GroupHandle::broadcast>("broadcast"),
                                       InstanceMethod<&GroupHandle::openBeside>("openBeside"),
                                       InstanceMethod<&GroupHandle::finish>("finish"),
                                       InstanceMethod<&GroupHandle::close>("close"),
                                       InstanceMethod<&GroupHandle::fail>("fail"),
                                   }));
}

GroupHandle::GroupHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

Napi::Object GroupHandle::wrap(Napi::Env env, std::shared_ptr<distributed::Group> group) {
  Napi::Object object = Instance::of(env).groupConstructor.New({});
  Unwrap(object)->group_ = std::move(group);
  return object;
}

std::shared_ptr<distributed::Group> GroupHandle::get(const Napi::Value& value) {
  require(value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&kTag), "INPUT",
          "the ranks of an exchange must be those of Ranks.join()");
  return Unwrap(value.As<Napi::Object>())->alive();
}

std::shared_ptr<distributed::Group> GroupHandle::alive() const {
  require(group_ != nullptr, "DISPOSED", "the ranks were used after close()");
  return group_;
}

Napi::Value GroupHandle::meet(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    require(info[0].IsTypedArray() && info[0].As<Napi::TypedArray>().TypedArrayType() == napi_float64_array,
            "INPUT", "the numbers of a rank must be a Float64Array");
    const auto given = info[0].As<Napi::Float64Array>();
    return promise(
        info.Env(), 0, Devices(exchanges()),
        [group = alive(), own = std::vector<double>(given.Data(), given.Data() + given.ElementLength()),
         what = nameFrom(info[1], "INPUT", "what the ranks meet for")] { return group->meet(own, what); },
        [](Napi::Env env, std::vector<double>& all) -> Napi::Value {
          auto numbers = Napi::Float64Array::New(env, all.size());
          std::copy(all.begin(), all.end(), numbers.Data());
          return numbers;
        });
  });
}

Napi::Value GroupHandle::allGather(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const at::Tensor all = TensorHandle::get(info[0], "what is gathered");
    return exchange(
        info.Env(), alive(), all, info.Env().Undefined(),
        [group = alive(), all, counts = integers(info[1], "counts"),
         what = nameFrom(info[2], "INPUT", "what is gathered for")] { group->allGather(all, counts, what); });
  });
}

Napi::Value GroupHandle::reduceScatter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const at::Tensor all = TensorHandle::get(info[0], "what is added up");
    return exchange(info.Env(), alive(), all, info[3],
                    [group = alive(), all, counts = integers(info[1], "counts"),
                     what = nameFrom(info[2], "INPUT", "what is added up for")] {
                      group->reduceScatter(all, counts, what);
                    });
  });
}

Napi::Value GroupHandle::allReduce(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const at::Tensor tensor = TensorHandle::get(info[0], "what is added up");
    return exchange(info.Env(), alive(), tensor, info[2],
                    [group = alive(), tensor, what = nameFrom(info[1], "INPUT", "what is added up for")] {
                      group->allReduce(tensor, distributed::Reduction::kSum, what);
                    });
  });
}

Napi::Value GroupHandle::broadcast(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const at::Tensor tensor = TensorHandle::get(info[0], "what is sent");
    require(info[1].IsNumber(), "INPUT", "the rank that sends must be a number");
    return exchange(
        info.Env(), alive(), tensor, info.Env().Undefined(),
        [group = alive(), tensor, root = info[1].As<Napi::Number>().Int32Value(),
         what = nameFrom(info[2], "INPUT", "what is sent for")] { group->broadcast(tensor, root, what); });
  });
}

Napi::Value GroupHandle::openBeside(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return promise(
        info.Env(), 0, devicesOf(alive()->device()),
        [group = alive(), what = nameFrom(info[0], "INPUT", "what exchanges are begun for")] {
          group->openBeside(what);
          return true;
        },
        [](Napi::Env env, bool) { return env.Undefined(); });
  });
}

Napi::Value GroupHandle::finish(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return promise(
        info.Env(), 0, devicesOf(alive()->device()),
        [group = alive(), what = nameFrom(info[0], "INPUT", "what exchanges were begun for")] {
          group->finish(what);
          return true;
        },
        [](Napi::Env env, bool) { return env.Undefined(); });
  });
}

Napi::Value GroupHandle::close(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::shared_ptr<distributed::Group> group = alive();
    group_.reset();
    return promise(
        info.Env(), 0, devicesOf(group->device()),
        [group] {
          group->close();
          return true;
        },
        [](Napi::Env env, bool) { return env.Undefined(); });
  });
}

void GroupHandle::fail(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    if (group_ != nullptr) group_->giveUp(nameFrom(info[0], "INPUT", "the reason"));
  });
}

}  // namespace gradcache::binding
