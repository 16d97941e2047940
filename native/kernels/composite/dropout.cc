#include "kernels/composite/composite.h"

namespace gradcache::kernels::composite {

namespace {

constexpr int64_t kLow32 = 0xffffffffll;

// mixBits of core/dropout_key.h on int64 tensors: products wrap modulo 2^64, of which the low 32 bits are
// kept.
at::Tensor mix(at::Tensor h) {
  h = h.bitwise_xor(h.bitwise_right_shift(16));
  h = h.mul(int64_t{0x85ebca6b}).bitwise_and(kLow32);
  h = h.bitwise_xor(h.bitwise_right_shift(13));
  h = h.mul(int64_t{0xc2b2ae35}).bitwise_and(kLow32);
  return h.bitwise_xor(h.bitwise_right_shift(16));
}

}  // namespace

at::Tensor dropout(const at::Tensor& x, const at::Tensor& numbers, const DropoutKey& key) {
  at::Tensor row = mix(numbers.bitwise_and(kLow32).bitwise_xor(int64_t{key.first})).add(int64_t{key.second});
  at::Tensor columns = at::arange(x.size(-1), numbers.options());
  at::Tensor pair = columns.bitwise_right_shift(1).mul(int64_t{kDropoutColumnStep});
  at::Tensor bits = mix(row.unsqueeze(-1).add(pair).bitwise_and(kLow32));
  bits = bits.bitwise_right_shift(columns.bitwise_and(1).mul(16)).bitwise_and(int64_t{0xffff});
  return x.mul(bits.ge(int64_t{key.threshold}).to(x.scalar_type()).mul(static_cast<double>(key.scale)));
}

}  // namespace gradcache::kernels::composite
