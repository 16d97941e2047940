#include "binding/segment_graph.h"

#include <utility>

#include "binding/arguments.h"
#include "binding/async.h"
#include "binding/instance.h"
#include "binding/tensor.h"
#include "core/error.h"

namespace gradcache::binding {

void SegmentGraphHandle::define(Napi::Env env) {
  Instance::of(env).segmentGraphConstructor =
      Napi::Persistent(DefineClass(env, "SegmentGraphHandle",
                                   {
                                       InstanceMethod<&SegmentGraphHandle::backward>("backward"),
                                       InstanceMethod<&SegmentGraphHandle::dispose>("dispose"),
                                   }));
}

Napi::Object SegmentGraphHandle::wrap(Napi::Env env, std::shared_ptr<SegmentGraph> graph) {
  Napi::Object object = Instance::of(env).segmentGraphConstructor.New({});
  Unwrap(object)->graph_ = std::move(graph);
  return object;
}

Napi::Value SegmentGraphHandle::backward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    require(graph_ != nullptr, "DISPOSED", "a segment's graph was used after dispose()");
    require(info[0].IsNumber(), "INPUT", "the seed of a backward must be a number");
    std::vector<at::Tensor> gradient;
    if (!info[1].IsNull()) gradient = tensorsFrom(info[1], "the state's gradient");
    return promise(
        info.Env(), groupFrom(info[2]), Devices(graph_->device()),
        [graph = graph_, seed = info[0].As<Napi::Number>().DoubleValue(),
         gradient = std::move(gradient)]() mutable { return graph->backward(seed, std::move(gradient)); },
        [](Napi::Env env, std::vector<at::Tensor>& before) { return toTensorList(env, before); });
  });
}

Napi::Value SegmentGraphHandle::dispose(const Napi::CallbackInfo& info) {
  graph_.reset();  // jobs under way hold it on their own
  return info.Env().Undefined();
}

}  // namespace gradcache::binding
