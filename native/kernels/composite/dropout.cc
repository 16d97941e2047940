#include "kernels/composite/composite.h"
#include "kernels/composite/dropout_factor.h"

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

at::Tensor dropoutFactor(const at::Tensor& rows, const at::Tensor& columns, const DropoutKey& key,
                         at::ScalarType type) {
  at::Tensor row = mix(rows.bitwise_and(kLow32).bitwise_xor(int64_t{key.first})).add(int64_t{key.second});
  at::Tensor pair = columns.bitwise_right_shift(1).mul(int64_t{kDropoutColumnStep});
  at::Tensor bits = mix(row.add(pair).bitwise_and(kLow32));
  bits = bits.bitwise_right_shift(columns.bitwise_and(1).mul(16)).bitwise_and(int64_t{0xffff});
  return bits.ge(int64_t{key.threshold}).to(type).mul(static_cast<double>(key.scale));
}

at::Tensor dropout(const at::Tensor& x, const DropoutKey& key) {
  const auto options = at::TensorOptions().dtype(at::kLong).device(x.device());
  at::Tensor rows = at::arange(x.size(0), options).unsqueeze(1);
  at::Tensor columns = at::arange(x.size(1), options).unsqueeze(0);
  return x.mul(dropoutFactor(rows, columns, key, x.scalar_type()));
}

}  // namespace gradcache::kernels::composite
