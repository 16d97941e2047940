#include "kernels/cuda/rows.h"

namespace gradcache::kernels::cuda {

bool isStored(at::ScalarType type) { return type == at::kFloat || type == at::kBFloat16; }

GradcacheType typeOf(at::ScalarType type) {
  return type == at::kBFloat16 ? GRADCACHE_BFLOAT16 : GRADCACHE_FLOAT32;
}

GradcacheRows describe(const at::Tensor& rows) {
  return {typeOf(rows.scalar_type()), rows.size(0), rows.size(1), currentStream(rows.device())};
}

at::Tensor scratch(size_t bytes, const at::Tensor& like) {
  return at::empty({static_cast<int64_t>(bytes)}, like.options().dtype(at::kByte));
}

const void* input(const at::Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; }
void* output(const at::Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr() : nullptr; }
float* floats(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<float>() : nullptr;
}

bool takesRows(const at::Tensor& tensor) {
  return tensor.is_cuda() && libraryIsOpen() && tensor.size(-1) % 8 == 0 && isStored(tensor.scalar_type());
}

}  // namespace gradcache::kernels::cuda
