#include "binding/loss.h"

#include <memory>
#include <utility>
#include <vector>

#include "binding/async.h"
#include "binding/group.h"
#include "binding/rank_share.h"
#include "binding/settings.h"
#include "binding/tensor.h"
#include "core/error.h"
#include "losses/losses.h"

namespace gradcache::binding {

namespace {

Napi::Value toObject(Napi::Env env, LossResult& result) {
  auto gradients = Napi::Array::New(env, result.gradients.size());
  for (size_t k = 0; k < result.gradients.size(); ++k) {
    at::Tensor& gradient = result.gradients[k];
    const Napi::Value value = gradient.defined() ? TensorHandle::wrap(env, std::move(gradient)) : env.Null();
    gradients.Set(static_cast<uint32_t>(k), value);
  }
  auto slopes = Napi::Object::New(env);
  for (const auto& [setting, slope] : result.slopes) slopes.Set(setting, Napi::Number::New(env, slope));
  auto value = Napi::Object::New(env);
  value.Set("loss", Napi::Number::New(env, result.loss));
  value.Set("gradients", gradients);
  value.Set("slopes", slopes);
  return value;
}

// Of each rank the rows of each tower, where ranks hold those of their own alone.
std::vector<std::vector<int64_t>> heldFrom(const Napi::Value& value, int ranks, size_t towers) {
  if (value.IsUndefined()) return {};
  const std::vector<int64_t> all = integers(value, "the rows of ranks");
  require(all.size() == static_cast<size_t>(ranks) * towers, "SHAPE", "there are ", all.size(),
          " numbers of rows for ", ranks, " ranks and ", towers, " towers");
  std::vector<std::vector<int64_t>> held;
  for (auto row = all.begin(); row != all.end(); row += static_cast<int64_t>(towers)) {
    held.emplace_back(row, row + static_cast<int64_t>(towers));
    for (const int64_t count : held.back())
      require(count >= 0, "SHAPE", "a rank is said to have ", count, " rows of a tower");
  }
  return held;
}

}  // namespace

Napi::Value loss(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string name = nameFrom(info[0], "INPUT", "the name of a loss");
    require(info[1].IsArray(), "INPUT", "the loss ", name, " takes a list of representations");
    auto list = info[1].As<Napi::Array>();
    std::vector<at::Tensor> representations;
    for (uint32_t k = 0; k < list.Length(); ++k)
      representations.push_back(TensorHandle::get(list.Get(k), "a tower's representations"));
    Devices devices(representations);
    std::shared_ptr<const Share> share;
    if (!info[3].IsUndefined()) {
      require(info[4].IsNumber(), "INPUT", "the phase of a shared loss must be a number");
      const std::shared_ptr<distributed::Group> group = GroupHandle::get(info[3]);
      share = std::make_shared<RankShare>(group, info[4].As<Napi::Number>().DoubleValue(),
                                          heldFrom(info[5], group->size(), representations.size()));
      devices.add(exchanges());  // in order with those
    }
    return promise(
        info.Env(), 0, devices,
        [name, representations = std::move(representations), share,
         settings = settingsFrom("the loss " + name, info[2])] {
          return computeLoss(name, representations, settings, share.get());
        },
        toObject);
  });
}

}  // namespace gradcache::binding
