#include "kernels/dropout/versions.h"

namespace gradcache::kernels::composite {

namespace {

// mixBits of core/dropout_key.h on int32 tensors, in place: products wrap modulo 2^32, and sign bits that a
// shift brings in are cleared.
at::Tensor mix(at::Tensor h) {
  h.bitwise_xor_(h.bitwise_right_shift(16).bitwise_and_(0xffff));
  h.mul_(static_cast<int32_t>(0x85ebca6bu));
  h.bitwise_xor_(h.bitwise_right_shift(13).bitwise_and_(0x7ffff));
  h.mul_(static_cast<int32_t>(0xc2b2ae35u));
  return h.bitwise_xor_(h.bitwise_right_shift(16).bitwise_and_(0xffff));
}

}  // namespace

at::Tensor dropoutOfRows(const at::Tensor& x, const at::Tensor& numbers, const DropoutKey& key) {
  // The low 32 bits of each number, as the key counts.
  at::Tensor row = mix(numbers.to(at::kInt).bitwise_xor(static_cast<int32_t>(key.first)))
                       .add_(static_cast<int32_t>(key.second));
  at::Tensor columns = at::arange(x.size(-1), row.options());
  at::Tensor pair = columns.bitwise_right_shift(1).mul_(static_cast<int32_t>(kDropoutColumnStep));
  at::Tensor bits = mix(row.unsqueeze(-1).add(pair));
  bits.bitwise_right_shift_(columns.bitwise_and(1).mul_(16)).bitwise_and_(0xffff);
  return x.mul(bits.ge(static_cast<int32_t>(key.threshold))).mul(static_cast<double>(key.scale));
}

}  // namespace gradcache::kernels::composite
