#include "losses/statistics.h"

#include <cmath>

namespace gradcache {

LogSumExp::LogSumExp(int64_t count, const at::TensorOptions& numbers)
    : greatest_(at::full({count}, -INFINITY, numbers)), sum_(at::zeros({count}, numbers)) {}

void LogSumExp::add(const at::Tensor& scores, int64_t along, int64_t begin) {
  const int64_t count = scores.size(1 - along);
  at::Tensor before = greatest_.narrow(0, begin, count), sum = sum_.narrow(0, begin, count);
  const at::Tensor greatest = at::maximum(before, scores.amax({along}));
  if (!scratch_.defined() || scratch_.numel() < scores.numel()) scratch_ = at::empty_like(scores).view({-1});
  at::Tensor shifted = scratch_.narrow(0, 0, scores.numel()).view_as(scores);
  at::sub_out(shifted, scores, greatest.unsqueeze(along));
  sum.mul_(before.sub(greatest).exp_()).add_(shifted.exp_().sum({along}));
  before.copy_(greatest);
}

void LogSumExp::complete(const Share* share) {
  if (share == nullptr || greatest_.numel() == 0) return;
  const at::Tensor own = greatest_.clone();
  share->most(greatest_);
  // Where there is no score here, there may be none anywhere.
  sum_.mul_(own.sub(greatest_).masked_fill_(own.eq(-INFINITY), -INFINITY).exp_());
  share->sum(sum_);
}

void completeLogSumExp(const at::Tensor& found, const Share* share) {
  if (share == nullptr || found.numel() == 0) return;
  at::Tensor greatest = found.clone();
  share->most(greatest);
  const at::Tensor base = greatest.masked_fill(greatest.isinf(), 0);
  found.sub_(base).exp_();
  share->sum(found);
  found.log_().add_(base);
}

Greatest::Greatest(int64_t count, const at::TensorOptions& numbers)
    : value_(at::full({count}, -INFINITY, numbers)),
      place_(at::full({count}, -1, numbers.dtype(at::kLong))) {}

void Greatest::add(const at::Tensor& scores, int64_t along, int64_t begin, int64_t first) {
  const int64_t count = scores.size(1 - along);
  at::Tensor value = value_.narrow(0, begin, count), place = place_.narrow(0, begin, count);
  auto [greatest, where] = scores.max(along);
  const at::Tensor greater = greatest.gt(value);
  value.copy_(at::where(greater, greatest, value));
  place.copy_(at::where(greater, where.add_(first), place));
}

at::Tensor logSumExpAt(const at::Tensor& numbers, const at::Tensor& places, int64_t count) {
  const at::Tensor flat = numbers.reshape({-1}), at = places.reshape({-1});
  at::Tensor greatest = at::full({count}, -INFINITY, numbers.options());
  greatest.scatter_reduce_(0, at, flat, "amax");
  // Where there is nothing, 0 stands for minus infinity.
  const at::Tensor base = greatest.masked_fill(greatest.isinf(), 0);
  at::Tensor sums = at::zeros({count}, numbers.options());
  sums.index_put_({at}, flat.sub(base.index_select(0, at)).exp_(), true);
  return sums.log_().add_(base);
}

}  // namespace gradcache
