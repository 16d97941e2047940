#include "blocks/distance_bias.h"

#include <algorithm>
#include <cmath>

#include "kernels/rows/rows.h"

namespace gradcache {

namespace {

// int64 [2 * longest - 1]: the bucket of key position - query position, from -(longest - 1) on.
at::Tensor distanceBuckets(int64_t longest, int64_t buckets, int64_t farthest, at::Device device) {
  const int64_t half = buckets / 2, exact = half / 2;
  at::Tensor table = at::empty({2 * longest - 1}, at::kLong);
  int64_t* data = table.mutable_data_ptr<int64_t>();
  for (int64_t k = 0; k < 2 * longest - 1; ++k) {
    const int64_t ahead = k - (longest - 1);  // key position - query position
    int64_t bucket = ahead > 0 ? half : 0;
    const int64_t distance = std::abs(ahead);
    if (distance < exact) {
      bucket += distance;
    } else {
      // float32 as in the reference: the bucket borders depend on it
      const float ratio =
          std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
          static_cast<float>(std::log(static_cast<double>(farthest) / static_cast<double>(exact)));
      bucket +=
          std::min<int64_t>(exact + static_cast<int64_t>(ratio * static_cast<float>(half - exact)), half - 1);
    }
    data[k] = bucket;
  }
  return table.to(device);
}

}  // namespace

at::Tensor DistanceBias::bucketsOf(const Pass& pass) const {
  if (!all_.defined()) all_ = distanceBuckets(most_, buckets_, farthest_, pass.tokens.ids.device());
  return all_.narrow(0, most_ - pass.tokens.longest, 2 * pass.tokens.longest - 1);
}

const at::Tensor& DistanceBias::values(const Pass& pass) const {
  return pass.once(this,
                   [&] { return pass.weight(table_).index_select(0, bucketsOf(pass)).t().contiguous(); });
}

at::Tensor DistanceBias::zeroGradient(const Pass& pass) const {
  const at::Tensor& table = pass.gradient(table_);
  return table.defined() ? at::zeros(values(pass).sizes(), table.options()) : at::Tensor();
}

void DistanceBias::addGradient(const at::Tensor& gradient, const Pass& pass) const {
  if (gradient.defined()) kernels::addRows(pass.gradient(table_), bucketsOf(pass), gradient.t());
}

}  // namespace gradcache
