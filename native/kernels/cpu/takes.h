// Which tensors the versions written for the CPU take.
#pragma once

#include <ATen/ATen.h>

namespace gradcache::kernels::cpu {

inline bool takes(const at::Tensor& tensor) {
  return tensor.is_cpu() && (tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble);
}

}  // namespace gradcache::kernels::cpu
