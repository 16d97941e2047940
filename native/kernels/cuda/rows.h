// Rows of a tensor as the library of CUDA kernels sees them.
#pragma once

#include <ATen/ATen.h>

#include "kernels/cuda/library.h"

namespace gradcache::kernels::cuda {

// float32 or bfloat16.
bool isStored(at::ScalarType type);
GradcacheType typeOf(at::ScalarType type);

// Whether the library takes rows of this tensor's type and width (a multiple of 8); else the composite
// version runs.
bool takesRows(const at::Tensor& tensor);

// rows [T, H].
GradcacheRows describe(const at::Tensor& rows);

// Uninitialised memory of `bytes` bytes on the device of `like`.
at::Tensor scratch(size_t bytes, const at::Tensor& like);

// The memory of a tensor; null where it is undefined.
const void* input(const at::Tensor& tensor);
void* output(const at::Tensor& tensor);
float* floats(const at::Tensor& tensor);

}  // namespace gradcache::kernels::cuda
