#include "binding/autograd.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <torch/csrc/autograd/autograd.h>

#include <unordered_set>
#include <vector>

#include "binding/async.h"
#include "binding/tensor.h"
#include "core/error.h"
#include "core/seeded_generators.h"

namespace gradcache::binding {

namespace {

// The generators of the host and of every GPU: code under a seed may compute on any of them.
std::vector<at::Generator> defaultGenerators() {
  std::vector<at::Generator> all{at::globalContext().defaultGenerator(at::kCPU)};
  const int gpus = at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().getNumGPUs() : 0;
  for (int index = 0; index < gpus; ++index) {
    all.push_back(
        at::globalContext().defaultGenerator(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index))));
  }
  return all;
}

Napi::Function functionArgument(const Napi::CallbackInfo& info, size_t index) {
  require(info[index].IsFunction(), "INPUT", "argument ", index + 1, " must be a function");
  return info[index].As<Napi::Function>();
}

}  // namespace

Napi::Value withGradMode(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    at::AutoGradMode mode(info[0].ToBoolean().Value());
    return functionArgument(info, 1).Call({});
  });
}

Napi::Value withSeed(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    require(info[0].IsNumber(), "INPUT", "a seed must be a number");
    const auto seed = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
    const Napi::Function body = functionArgument(info, 1);
    SeededGenerators seeded(defaultGenerators(), seed);
    const Napi::Value result = body.Call({});
    seeded.restore();
    return result;
  });
}

Napi::Value backward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    require(info[0].IsArray() && info[1].IsArray(), "INPUT",
            "backward takes a list of roots and a list of seeds");
    auto roots = info[0].As<Napi::Array>();
    auto seeds = info[1].As<Napi::Array>();
    require(roots.Length() == seeds.Length() && roots.Length() > 0, "SHAPE", "backward got ", roots.Length(),
            " roots and ", seeds.Length(), " seeds");
    std::vector<at::Tensor> rootTensors, seedTensors;
    for (uint32_t k = 0; k < roots.Length(); ++k) {
      const at::Tensor root = TensorHandle::get(roots.Get(k), "a root of backward");
      require(root.requires_grad(), "INPUT", "root ", k,
              " of backward does not depend on anything that requires a gradient");
      Napi::Value seed = seeds.Get(k);
      if (seed.IsNull() || seed.IsUndefined()) {
        require(root.numel() == 1, "SHAPE", "root ", k, " of backward has shape ", root.sizes(),
                " and needs a seed of that shape");
        seedTensors.push_back(at::ones_like(root));
      } else {
        const at::Tensor& tensor = TensorHandle::get(seed, "a seed of backward");
        require(tensor.sizes() == root.sizes(), "SHAPE", "seed ", k, " has shape ", tensor.sizes(),
                ", its root ", root.sizes());
        seedTensors.push_back(tensor);
      }
      rootTensors.push_back(root);
    }
    auto atWork = Instance::of(info.Env()).gradientsAtWork.mark(leavesBelow(rootTensors));
    Devices devices = devicesBelow(rootTensors);
    for (const at::Tensor& seed : seedTensors) devices.add(seed);
    const uint64_t group =
        info[2].IsNumber() ? static_cast<uint64_t>(info[2].As<Napi::Number>().Int64Value()) : 0;
    return promise(
        info.Env(), group, devices,
        [rootTensors = std::move(rootTensors), seedTensors = std::move(seedTensors)]() mutable {
          torch::autograd::backward(rootTensors, seedTensors);
          rootTensors.clear();
          return true;
        },
        // The marks last until the promise has settled and frees its captures.
        [atWork = std::move(atWork)](Napi::Env env, bool) { return env.Undefined(); });
  });
}

Napi::Value leaves(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    require(info[1].IsArray(), "INPUT", "leaves to leave out must be a list");
    auto others = info[1].As<Napi::Array>();
    std::unordered_set<const at::TensorImpl*> known;
    for (uint32_t k = 0; k < others.Length(); ++k)
      known.insert(TensorHandle::get(others.Get(k), "a leaf to leave out").unsafeGetTensorImpl());
    auto found = Napi::Array::New(info.Env());
    for (const at::Tensor& leaf : leavesBelow({TensorHandle::get(info[0], "the root")})) {
      if (known.count(leaf.unsafeGetTensorImpl()) == 0)
        found.Set(found.Length(), TensorHandle::wrap(info.Env(), leaf));
    }
    return found;
  });
}

}  // namespace gradcache::binding
