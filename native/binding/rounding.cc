#include "binding/rounding.h"

#include <vector>

#include "binding/async.h"
#include "binding/tensor_list.h"
#include "core/error.h"
#include "core/rounding.h"

namespace gradcache::binding {

Napi::Value roundStochastically(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::vector<at::Tensor> targets = TensorListHandle::get(info[0], "the targets"),
                                  sources = TensorListHandle::get(info[1], "the sources");
    require(info[2].IsNumber(), "INPUT", "a seed must be a number");
    require(targets.size() == sources.size() && !targets.empty(), "INPUT", targets.size(), " targets and ",
            sources.size(), " sources");
    Devices devices(targets);
    for (const at::Tensor& source : sources) devices.add(source);
    return promise(
        info.Env(), 0, devices,
        [targets, sources, seed = static_cast<uint64_t>(info[2].As<Napi::Number>().Int64Value())] {
          gradcache::roundStochastically(targets, sources, seed);
          return true;
        },
        [](Napi::Env env, bool) { return env.Undefined(); });
  });
}

}  // namespace gradcache::binding
