#include "core/rounding.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>

#include "core/error.h"
#include "core/seeded_generators.h"

namespace gradcache {

void roundStochastically(const std::vector<at::Tensor>& targets, const std::vector<at::Tensor>& sources,
                         uint64_t seed) {
  for (size_t k = 0; k < targets.size(); ++k) {
    require(targets[k].scalar_type() == at::kBFloat16 && sources[k].scalar_type() == at::kFloat, "DTYPE",
            "float32 is rounded to bfloat16; got ", sources[k].scalar_type(), " for ",
            targets[k].scalar_type());
    require(targets[k].sizes() == sources[k].sizes() && targets[k].device() == sources[k].device(), "SHAPE",
            "what is rounded has shape ", sources[k].sizes(), ", its target ", targets[k].sizes(),
            "; both are on one device");
  }
  const at::NoGradGuard withoutGraph;
  const at::Device device = targets.front().device();
  const c10::OptionalDeviceGuard onDevice(device);
  SeededGenerators seeded({at::globalContext().defaultGenerator(device)}, seed);
  for (size_t k = 0; k < targets.size(); ++k) {
    // The 16 bits that bfloat16 lacks are a fraction of its last place: a uniform number carries over as
    // often.
    const at::Tensor bits = at::empty(sources[k].sizes(), sources[k].options().dtype(at::kInt));
    bits.random_(0, int64_t{1} << 16);
    bits.add_(sources[k].contiguous().view(at::kInt)).bitwise_and_(-(int64_t{1} << 16));
    targets[k].copy_(bits.view(at::kFloat));
  }
  seeded.restore();
}

}  // namespace gradcache
