#include "kernels/cpu/takes.h"
#include "kernels/dropout/versions.h"

namespace gradcache::kernels {

at::Tensor dropout(const at::Tensor& x, const DropoutKey& key) {
  if (!key.active()) return x;
  if (cpu::takes(x)) return cpu::dropout(x, key);
  return dropoutOfRows(x, at::arange(x.size(0), x.options().dtype(at::kLong)), key);
}

at::Tensor dropoutOfRows(const at::Tensor& x, const at::Tensor& numbers, const DropoutKey& key) {
  return cuda::takesDropout(x) ? cuda::dropoutOfRows(x, numbers, key)
                               : composite::dropoutOfRows(x, numbers, key);
}

}  // namespace gradcache::kernels
