#include "kernels/exponentials/exponentials.h"

#include "kernels/cpu/takes.h"
#include "kernels/exponentials/versions.h"

namespace gradcache::kernels {

at::Tensor exponentials(const at::Tensor& scores) {
  return cpu::takes(scores) ? cpu::exponentials(scores) : composite::exponentials(scores);
}

void weighedExponentials(const at::Tensor& scores, const at::Tensor& rows, const at::Tensor& columns) {
  if (cpu::takes(scores)) {
    cpu::weighedExponentials(scores, rows, columns);
  } else {
    composite::weighedExponentials(scores, rows, columns);
  }
}

}  // namespace gradcache::kernels
