#include "kernels/pool/pool.h"

#include "core/error.h"
#include "kernels/cpu/takes.h"
#include "kernels/pool/versions.h"

namespace gradcache::kernels {

Pooling poolingNamed(std::string_view name) {
  if (name == "mean") return Pooling::kMean;
  if (name == "cls") return Pooling::kCls;
  if (name == "max") return Pooling::kMax;
  if (name == "last") return Pooling::kLast;
  fail("INPUT", "pooling '", name, "' is unknown; use mean, cls, max or last");
}

Pooled pool(const at::Tensor& x, const Sequences& sequences, Pooling pooling, bool normalize) {
  if (cuda::takesPooling(x, x.scalar_type())) return cuda::pool(x, sequences, pooling, normalize);
  return cpu::takes(x) ? cpu::pool(x, sequences, pooling, normalize)
                       : composite::pool(x, sequences, pooling, normalize);
}

at::Tensor poolBackward(const at::Tensor& dy, const Pooled& saved, const Sequences& sequences,
                        Pooling pooling, at::ScalarType type) {
  if (cuda::takesPooling(dy, type)) return cuda::poolBackward(dy, saved, sequences, pooling, type);
  return cpu::takes(dy) && dy.scalar_type() == type
             ? cpu::poolBackward(dy, saved, sequences, pooling)
             : composite::poolBackward(dy, saved, sequences, pooling, type);
}

}  // namespace gradcache::kernels
