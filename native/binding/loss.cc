#include "binding/loss.h"

#include <utility>

#include "binding/async.h"
#include "binding/tensor.h"
#include "core/error.h"
#include "losses/info_nce.h"

namespace gradcache::binding {

Napi::Value infoNce(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    require(info[0].IsArray() && info[1].IsObject(), "INPUT",
            "infoNce takes a list of representations and options");
    auto list = info[0].As<Napi::Array>();
    auto object = info[1].As<Napi::Object>();
    std::vector<at::Tensor> representations;
    for (uint32_t k = 0; k < list.Length(); ++k)
      representations.push_back(TensorHandle::get(list.Get(k), "a tower's representations"));
    InfoNceOptions options;
    options.scale = object.Get("scale").ToNumber();
    options.cosine = object.Get("cosine").ToBoolean();
    options.symmetric = object.Get("symmetric").ToBoolean();
    options.learned = object.Get("learned").ToBoolean();
    options.weight = object.Get("weight").ToNumber();
    if (object.Get("targets").IsArray()) {
      options.targets = integers(object.Get("targets"), "targets");
      require(!options.targets.empty(), "SHAPE",
              "targets must name a candidate for each anchor, the list is empty");
    }
    return promise(
        info.Env(), 0,
        [representations = std::move(representations), options = std::move(options)] {
          return gradcache::infoNce(representations, options);
        },
        [](Napi::Env env, InfoNce& result) -> Napi::Value {
          auto value = Napi::Object::New(env);
          auto gradients = Napi::Array::New(env, result.gradients.size());
          for (size_t k = 0; k < result.gradients.size(); ++k) {
            gradients.Set(static_cast<uint32_t>(k), TensorHandle::wrap(env, std::move(result.gradients[k])));
          }
          value.Set("loss", Napi::Number::New(env, result.loss));
          value.Set("gradients", gradients);
          value.Set("logScaleGradient", Napi::Number::New(env, result.logScaleGradient));
          return value;
        });
  });
}

}  // namespace gradcache::binding
