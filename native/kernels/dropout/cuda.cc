#include "kernels/cuda/rows.h"
#include "kernels/dropout/versions.h"

namespace gradcache::kernels::cuda {

bool takesDropout(const at::Tensor& tensor) {
  return tensor.is_cuda() && libraryIsOpen() && isStored(tensor.scalar_type());
}

at::Tensor dropoutOfRows(const at::Tensor& x, const at::Tensor& numbers, const DropoutKey& key) {
  at::Tensor contiguous = x.contiguous(), counted = numbers.contiguous();
  at::Tensor y = at::empty_like(contiguous);
  const GradcacheRows rows{typeOf(x.scalar_type()), counted.numel(), x.size(-1), currentStream(x.device())};
  check(library().dropout(&rows, input(contiguous), counted.const_data_ptr<int64_t>(), key, output(y)),
        "dropout");
  return y;
}

}  // namespace gradcache::kernels::cuda
