#include "binding/loss.h"

#include <memory>
#include <utility>
#include <vector>

#include "binding/async.h"
#include "binding/group.h"
#include "binding/settings.h"
#include "binding/tensor.h"
#include "core/error.h"
#include "losses/losses.h"
#include "losses/share.h"

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

// The part of a rank. What ranks tell one another goes through the CPU, where each first says that it is
// there: a rank whose part fails says so instead, in the meeting at the end of the loss
// (lib/distributed/meeting.ts).
class RankShare final : public Share {
 public:
  RankShare(std::shared_ptr<distributed::Group> group, double phase)
      : Share(group->rank(), group->size()), group_(std::move(group)), phase_(phase) {}

  void sum(const at::Tensor& numbers) const override { reduce(numbers, distributed::Reduction::kSum); }
  void most(const at::Tensor& numbers) const override { reduce(numbers, distributed::Reduction::kMax); }

 private:
  static constexpr size_t kHead = 16;
  static constexpr double kWorking = 0, kReduces = 1;
  static constexpr const char* kWhat = "computing the loss";

  void reduce(const at::Tensor& numbers, distributed::Reduction reduction) const {
    while (!allReduce()) {
    }
    at::Tensor here = numbers.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true).contiguous();
    group_->allReduce(here, reduction, kWhat);
    numbers.copy_(here);
  }

  // Whether all ranks have come to add up numbers. One that has not may have told that it lives.
  bool allReduce() const {
    std::vector<double> head(kHead);
    head[0] = phase_;
    head[1] = kWorking;
    head[2] = kReduces;
    const std::vector<double> heads = group_->meet(head, kWhat);
    bool all = true;
    for (size_t rank = 0; rank * kHead < heads.size(); ++rank) {
      const double* theirs = heads.data() + rank * kHead;
      require(theirs[0] == phase_ && theirs[1] == kWorking, "DISTRIBUTED", "rank ", rank,
              " stopped while the loss was computed");
      all = all && theirs[2] == kReduces;
    }
    return all;
  }

  std::shared_ptr<distributed::Group> group_;
  const double phase_;
};

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
      share =
          std::make_shared<RankShare>(GroupHandle::get(info[3]), info[4].As<Napi::Number>().DoubleValue());
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
